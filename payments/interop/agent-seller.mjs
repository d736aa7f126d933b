// Stock @x402/fetch buyers at one of our agents: it sells, and buys what it needs from a model.
import { agora, available, check, decoded, expect, expectThat, funded, offered, order, payer } from './lib.mjs'
import { schemes, summariser } from './lib.mjs'

const url = summariser()
const required = await offered(url, order)

/** A summary, checked; what it cost. */
async function summary(pay) {
  const response = await pay(url, order)
  expect('status', response.status, 200)
  const body = await response.json()
  expectThat('a summary', typeof body.summary === 'string' && body.summary.length > 0, body)
  const [leaf, call] = [response.headers.get('agora-receipt'), response.headers.get('agora-call')]
  expectThat('Agora-Receipt', /^0x[0-9a-f]{64}$/.test(leaf ?? ''), leaf)
  const { receipt } = agora('receipt', 'show', call).provisional
  expect('kind of the receipt', receipt.kind, 'service')
  expectThat('the bought answer as a parent', receipt.parents.length >= 1, receipt.parents)
  expect('charge', receipt.charge, response.headers.get('agora-charge'))
  return { charge: BigInt(receipt.charge), paid: decoded(response, 'payment-response') }
}

for (const name of ['exact', 'upto']) {
  const account = funded()
  await check(`agent paid by ${name}`, async () => {
    const before = available(account.address)
    const { charge, paid } = await summary(payer(schemes(account)[name], required))
    expect('amount in PAYMENT-RESPONSE', BigInt(paid.amount), charge)
    expect('money that left', before - available(account.address), charge)
  })
}

const account = funded()
const batch = schemes(account)['batch-settlement']
const pay = payer(batch, required)
const before = available(account.address)
await check('agent paid by batch-settlement: deposit, then a voucher', async () => {
  const first = await summary(pay)
  expect('deposit', BigInt(first.paid.amount), before - available(account.address))
  const second = await summary(pay)
  expect('a voucher moves nothing', second.paid.transaction, '')
  const cumulative = BigInt(second.paid.extra.channelState.chargedCumulativeAmount)
  expect('cumulative', cumulative, first.charge + second.charge)
})
await check('agent, refund by GET, as the stock client does it', async () => {
  const refunded = await batch.refund(url)
  expect('success', refunded.success, true)
  expect('money that left in all', before - available(account.address), 2n * BigInt(required.accepts[0].amount))
  return `${refunded.amount} atoms came back`
})
