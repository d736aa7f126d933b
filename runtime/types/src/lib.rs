//! Words every part shares: amounts, addresses, ids, hashes, signatures, commands and their bytes.
