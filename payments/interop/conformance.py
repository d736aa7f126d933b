"""PyPI x402-conformance against our facilitator, and against our agent as a paid resource."""

import asyncio
import json
import os
import subprocess
import sys

from lib import agora, check, expect, node


def verdicts(*args):
    """Runs x402conf, with its exit code; what it checked."""
    ran = subprocess.run([sys.executable, "-m", "x402conf", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    [result] = json.loads(ran.stdout)["results"]
    return ran.returncode, result["checks"]


async def main():
    names = [agent["name"] for agent in agora("agent", "list")["agents"]]
    if "summariser" not in names:
        agora("agent", "deploy", os.path.join(os.environ["INTEROP_AGENTS"], "summariser.wasm"), "--yes", "--max-spend", "5")
    for command, url in [("live", node), ("resource", f"{node}/agents/summariser/")]:
        code, checks = verdicts(command, "--fail-on-error", url)
        for one in checks:

            async def passed(one=one):
                expect(json.dumps(one["detail"]), one["pass"], True)

            await check(f"x402conf {command}: {one['check']}", passed)

        async def succeeded(code=code):
            expect("exit code", code, 0)

        await check(f"x402conf {command}: exit code", succeeded)


asyncio.run(main())
