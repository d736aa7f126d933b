"""What the checks share: named checks, the node's command line, funded accounts.

A check prints one line to stdout: ok or FAILED, its name, and what it says, with tabs between. Everything else goes to
stderr.
"""

import json
import os
import subprocess
import traceback

from eth_account import Account

node = os.environ["AGORA_URL"]

# The most that one payment may cost, atoms: 0.1 OPEN.
MOST = 10**17


async def check(name, body):
    """Runs a check and reports it; a failure does not end the others."""
    try:
        verdict, said = "ok", await body() or ""
    except Exception as error:
        traceback.print_exc()
        verdict, said = "FAILED", str(error) or repr(error)
    print("\t".join([verdict, *(" ".join(word.split()) for word in [name, said])]), flush=True)


def expect(what, came, expected):
    """Fails with what was expected and what came."""
    if came != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {came!r}"[:800])


def agora(*args):
    """A command of the node's program, as JSON."""
    command = [os.environ["AGORA_PROGRAM"], "--json", "--quiet", *args]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def funded(amount="1"):
    """A new key with money on it."""
    account = Account.create()
    agora("wallet", "send", account.address, amount, "--yes", "--max-spend", amount)
    return account


def available(address):
    """Atoms that an account has, those in channels and holds not counted."""
    return int(agora("wallet", "balance", address)["available"])
