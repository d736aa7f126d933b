// Stock @x402/fetch buyers at a stock @x402/express seller that uses our facilitator.
import { HTTPFacilitatorClient } from '@x402/core/server'
import { available, check, decoded, expect, expectThat, funded, node, offered, payer, schemes } from './lib.mjs'
import { asset, batchServer, close, facilitator, network, payTo, price, shop } from './shop.mjs'

/** Buys from the shop; the settlement. */
async function bought(pay, scheme) {
  const response = await pay(`${shop}/${scheme}`)
  expect('status', response.status, 200)
  expect('answer', await response.json(), { sold: scheme })
  return decoded(response, 'payment-response')
}

for (const [scheme, charge] of [['exact', price], ['upto', price / 4n]]) {
  const account = funded()
  await check(`express seller paid by ${scheme}`, async () => {
    const [before, seller] = [available(account.address), available(payTo)]
    const required = await offered(`${shop}/${scheme}`)
    const paid = await bought(payer(schemes(account)[scheme], required), scheme)
    expect('success', paid.success, true)
    expect('money that left', before - available(account.address), charge)
    expect('money that came', available(payTo) - seller, charge)
  })
}

const account = funded()
const buyer = schemes(account)['batch-settlement']
const charge = (price * 4n) / 10n
const [before, seller] = [available(account.address), available(payTo)]
await check('express seller paid by batch-settlement: deposit, vouchers', async () => {
  const required = await offered(`${shop}/batch-settlement`)
  const pay = payer(buyer, required)
  const deposit = await bought(pay, 'batch-settlement')
  expect('deposit', BigInt(deposit.amount), before - available(account.address))
  for (let turn = 2n; turn <= 3n; turn += 1n) {
    const { extra } = await bought(pay, 'batch-settlement')
    expect('charged', BigInt(extra.chargedAmount), charge)
    expect('cumulative', BigInt(extra.channelState.chargedCumulativeAmount), turn * charge)
  }
})
await check('express seller, claim and settle by the stock channel manager', async () => {
  const manager = batchServer.createChannelManager(facilitator, network, asset)
  const { claims, settle } = await manager.claimAndSettle()
  expect('vouchers claimed', claims.map((claim) => claim.vouchers), [1])
  expectThat('a settlement', settle?.transaction?.startsWith('0x'), settle)
  expect('money that came', available(payTo) - seller, 3n * charge)
})
await check('express seller, refund by GET, as the stock client does it', async () => {
  const refunded = await buyer.refund(`${shop}/batch-settlement`)
  expect('success', refunded.success, true)
  expect('money that left in all', before - available(account.address), 3n * charge)
})
await check('express seller without its token may not settle less than was signed', async () => {
  const account = funded()
  const stranger = new HTTPFacilitatorClient({ url: node })
  const required = await offered(`${shop}/upto`)
  let payment
  const spy = async (input, init) => {
    const request = new Request(input, init)
    const header = request.headers.get('payment-signature')
    if (header === null) return fetch(request)
    payment = JSON.parse(Buffer.from(header, 'base64').toString('utf8'))
    return new Response('{}')
  }
  await payer(schemes(account).upto, required, [], spy)(`${shop}/upto`)
  const half = { ...payment.accepted, amount: (price / 2n).toString() }
  expect('verified', (await facilitator.verify(payment, payment.accepted)).isValid, true)
  const refused = await stranger.settle(payment, half).catch((error) => error)
  expectThat('a refusal', refused instanceof Error || refused.success === false, refused)
  return refused.errorReason ?? refused.message
})
close()
