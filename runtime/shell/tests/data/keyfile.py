"""Keystore files by an independent library: `pip install eth-keyfile`.

    python3 keyfile.py write FILE    makes the files beside this script (independent.json)
    python3 keyfile.py check FILE PASSPHRASE    opens a file that Agora wrote and prints the secret

The key is the public test key 0x0101...01.
"""

import json
import sys

import eth_keyfile

if sys.argv[1] == "write":
    container = eth_keyfile.create_keyfile_json(bytes([1] * 32), "schlüssel 1".encode(), kdf="scrypt", iterations=4096)
    with open(sys.argv[2], "w") as file:
        json.dump(container, file, indent=2)
        file.write("\n")
else:
    with open(sys.argv[2]) as file:
        print("0x" + bytes(eth_keyfile.decode_keyfile_json(json.load(file), sys.argv[3].encode())).hex())
