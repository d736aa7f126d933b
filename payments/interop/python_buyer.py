"""Stock PyPI x402 buyers (httpx) at our gateway: every scheme, whole, and a stream."""

import asyncio
import base64
import json

import httpx
from lib import MOST, available, check, expect, funded, node
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
from x402.mechanisms.evm.exact import ExactEvmClientScheme as ExactEvmScheme
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.mechanisms.evm.upto.client import UptoEvmScheme

URL = f"{node}/v1/chat/completions"
QUESTION = {"model": "parrot", "messages": [{"role": "user", "content": "who owns a wreck"}], "max_tokens": 20}


def decoded(response, name):
    """What a header of the protocol carries."""
    header = response.headers.get(name)
    return header and json.loads(base64.b64decode(header))


def payer(scheme, offer):
    """The stock client that pays by one scheme."""
    client = x402Client(lambda _, accepts: next(one for one in accepts if one.scheme == scheme.scheme))
    client.register(offer["network"], scheme)
    allowed = {"network": offer["network"], "asset": offer["asset"], "max_amount_per_payment": str(MOST)}
    client.set_spend_controls({"allowed_assets": [allowed]})
    return x402HttpxClient(client, timeout=30)


async def answer(http):
    """A whole answer, checked; what it cost, and the settlement."""
    response = await http.post(URL, json=QUESTION)
    expect("status", response.status_code, 200)
    body = response.json()
    expect("receipt", response.headers["agora-receipt"], body["agora"]["receipt"])
    return int(body["agora"]["charge"]), decoded(response, "payment-response")


async def main():
    offer = decoded(httpx.post(URL, json=QUESTION), "payment-required")["accepts"][0]

    for name, make in [("exact", ExactEvmScheme), ("upto", UptoEvmScheme)]:
        account = funded()

        async def single():
            before = available(account.address)
            async with payer(make(EthAccountSigner(account)), offer) as http:
                charge, paid = await answer(http)
            expect("amount in PAYMENT-RESPONSE", int(paid["amount"]), charge)
            expect("money that left", before - available(account.address), charge)

        await check(f"python, {name}", single)

    account = funded()
    scheme = BatchSettlementEvmScheme(EthAccountSigner(account))
    before = available(account.address)
    spent = 0

    async def batch():
        nonlocal spent
        async with payer(scheme, offer) as http:
            charge, paid = await answer(http)
            expect("deposit", int(paid["amount"]), before - available(account.address))
            spent += charge
            charge, paid = await answer(http)
            expect("a voucher moves nothing", paid["transaction"], "")
            spent += charge
            expect("cumulative", int(paid["extra"]["channelState"]["chargedCumulativeAmount"]), spent)

    async def stream():
        nonlocal spent
        async with payer(scheme, offer) as http:
            events = []
            async with http.stream("POST", URL, json={**QUESTION, "stream": True}) as response:
                expect("status", response.status_code, 200)
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        events.append(line[6:])
            expect("last event", events[-1], "[DONE]")
            spent += int(json.loads(events[-2])["agora"]["charge"])

    async def refund():
        from x402.mechanisms.evm.batch_settlement.client import RefundOptions
        from x402.mechanisms.evm.batch_settlement.client.refund import _RefundResponse

        # The stock client probes by GET; the price of a completion depends on its body, so the probe carries it.
        def as_post(url, headers):
            response = httpx.post(url, headers=headers, json=QUESTION)
            return _RefundResponse(status=response.status_code, headers=dict(response.headers))

        refunded = await asyncio.to_thread(scheme.refund, URL, RefundOptions(fetch=as_post))
        expect("success", refunded.success, True)
        expect("money that left in all", before - available(account.address), spent)

    await check("python, batch-settlement: deposit, then a voucher", batch)
    await check("python, batch-settlement, streaming", stream)
    await check("python, batch-settlement, refund", refund)


asyncio.run(main())
