// Stock @x402/fetch buyers at our gateway: every scheme, whole and streaming, refunds, lost state.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileClientChannelStorage } from '@x402/evm/batch-settlement/client/file-storage'
import { available, check, decoded, expect, expectThat, funded, node, offered, payer, post, question } from './lib.mjs'
import { agora, schemes, small, streamed, until } from './lib.mjs'

const url = `${node}/v1/chat/completions`
const whole = post(question('who owns a wreck', 20))
const stream = post(question('who owns a wreck', 100, { stream: true }))
const required = await offered(url, whole)

/** A whole answer, checked; what it cost. */
async function answer(pay) {
  const response = await pay(url, whole)
  expect('status', response.status, 200)
  const [body, paid] = [await response.json(), decoded(response, 'payment-response')]
  expect('answer', body.choices[0].message.content.trim().split(' ').slice(0, 4).join(' '), 'who owns a wreck')
  expect('success', paid?.success, true)
  expect('charge in header and body', response.headers.get('agora-charge'), body.agora.charge)
  expectThat('a receipt in the header', /^0x[0-9a-f]{64}$/.test(response.headers.get('agora-receipt')), null)
  expect('receipt in header and body', response.headers.get('agora-receipt'), body.agora.receipt)
  return { charge: BigInt(body.agora.charge), paid, call: body.agora.call }
}

/** A streamed answer, checked; what it cost. */
async function flow(pay) {
  const response = await pay(url, stream)
  expect('status', response.status, 200)
  const events = await streamed(response)
  expect('last event', events.at(-1), '[DONE]')
  const last = JSON.parse(events.at(-2))
  expectThat('a receipt in the last event', /^0x[0-9a-f]{64}$/.test(last.agora?.receipt), last)
  return { charge: BigInt(last.agora.charge), paid: decoded(response, 'payment-response'), told: last.agora.paymentResponse }
}

for (const name of ['exact', 'upto']) {
  const account = funded()
  const pay = payer(schemes(account)[name], required)
  await check(`${name}, whole`, async () => {
    const before = available(account.address)
    const { charge, paid } = await answer(pay)
    expect('amount in PAYMENT-RESPONSE', BigInt(paid.amount), charge)
    expect('money that left', before - available(account.address), charge)
  })
  await check(`${name}, streaming`, async () => {
    const before = available(account.address)
    const { charge, told } = await flow(pay)
    expect('amount in the last event', BigInt(told.amount), charge)
    expect('money that left', before - available(account.address), charge)
  })
}

const account = funded()
const batch = schemes(account)['batch-settlement']
const pay = payer(batch, required)
const before = available(account.address)
let spent = 0n
let cumulative = 0n

await check('batch-settlement, deposit with the first answer', async () => {
  const { charge, paid } = await answer(pay)
  spent += charge
  cumulative = BigInt(paid.extra.channelState.chargedCumulativeAmount)
  expect('deposit', BigInt(paid.amount), 5n * charge)
  expect('charged in PAYMENT-RESPONSE', BigInt(paid.extra.chargedAmount), charge)
  expect('money that left', before - available(account.address), 5n * charge)
})
await check('batch-settlement, voucher', async () => {
  const left = available(account.address)
  const { charge, paid } = await answer(pay)
  spent += charge
  expect('a voucher moves nothing', paid.transaction, '')
  expect('cumulative', BigInt(paid.extra.channelState.chargedCumulativeAmount), cumulative + charge)
  cumulative += charge
  expect('money that left', left - available(account.address), 0n)
})
await check('batch-settlement, streaming', async () => {
  const { charge, paid } = await flow(pay)
  spent += charge
  expect('PAYMENT-RESPONSE before the body', BigInt(paid?.extra?.chargedAmount ?? -1), charge)
  cumulative += charge
  expect('cumulative', BigInt(paid.extra.channelState.chargedCumulativeAmount), cumulative)
})
if (!small) {
  await check('batch-settlement, what a stream left unused pays for the next request', async () => {
    const controller = new AbortController()
    const response = await pay(url, { ...stream, signal: controller.signal })
    const told = BigInt(decoded(response, 'payment-response').extra.chargedAmount)
    await response.body.getReader().read()
    controller.abort()
    const call = response.headers.get('agora-call')
    let receipt
    await until('a receipt of the stream that was left', () => {
      try {
        receipt = agora('receipt', 'show', call)
        return true
      } catch {
        return false
      }
    })
    const used = BigInt(receipt.provisional.receipt.charge)
    expectThat('less used than told', used > 0n && used < told, { used, told })
    spent += used
    const next = await answer(pay)
    spent += next.charge
    // A whole answer is charged to the atom again: the carry is gone, and the cumulative amount is what was used.
    const state = next.paid.extra.channelState
    expect('charged in PAYMENT-RESPONSE', BigInt(next.paid.extra.chargedAmount), BigInt(state.chargedCumulativeAmount) - cumulative - told)
    expectThat('the next request told no more than its cost', BigInt(next.paid.extra.chargedAmount) <= next.charge, next.paid)
    return `used ${used} of ${told}; the next request cost ${next.charge} and was told ${next.paid.extra.chargedAmount}`
  })
}
await check('batch-settlement, refund', async () => {
  // The stock client probes by GET, which carries no body: the address names the model.
  const refunded = await batch.refund(`${url}?model=parrot`)
  expect('success', refunded.success, true)
  expect('money that left in all', before - available(account.address), spent)
  return `${refunded.amount} atoms came back`
})
await check('batch-settlement, a new channel after the refund', async () => {
  // Claims never fall, so the old channel goes on only for a client that can read the chain; a new salt is a new channel.
  const salt = `0x${'0'.repeat(63)}1`
  const left = available(account.address)
  const { charge, paid } = await answer(payer(schemes(account, { salt })['batch-settlement'], required))
  expect('a deposit again', BigInt(paid.amount), left - available(account.address))
  expect('charged', BigInt(paid.extra.chargedAmount), charge)
})
if (!small) {
  await lostState()
}

async function lostState() {
  const folder = mkdtempSync(join(tmpdir(), 'agora-interop-channels-'))
  const account = funded()
  const stored = () => ({ storage: new FileClientChannelStorage({ directory: folder }) })
  await check('batch-settlement, FileClientChannelStorage: a new process goes on with vouchers', async () => {
    const first = await answer(payer(schemes(account, stored())['batch-settlement'], required))
    const second = await answer(payer(schemes(account, stored())['batch-settlement'], required))
    expect('no second deposit', second.paid.transaction, '')
    const [was, is] = [first, second].map((one) => BigInt(one.paid.extra.channelState.chargedCumulativeAmount))
    expect('cumulative', is, was + second.charge)
  })
  rmSync(folder, { recursive: true })
  await check('batch-settlement, lost state without reads of the chain: refused, nothing moves', async () => {
    const left = available(account.address)
    const response = await payer(schemes(account)['batch-settlement'], required)(url, whole)
    expect('status', response.status, 402)
    const told = decoded(response, 'payment-required')
    expect('error', told.error, 'invalid_batch_settlement_evm_cumulative_amount_mismatch')
    expect('money that left', left - available(account.address), 0n)
  })
  await check('batch-settlement, lost state: recovered by the corrective 402', async () => {
    const left = available(account.address)
    const seen = []
    // What the stock client would read from a chain; here the newest corrective 402 says it.
    const readContract = async () => {
      const answers = seen.map((response) => decoded(response, 'payment-required')).filter(Boolean)
      const offers = answers.flatMap((told) => told.accepts).filter((offer) => offer.extra?.channelState)
      const state = offers.at(-1)?.extra.channelState
      return state ? [BigInt(state.balance), BigInt(state.totalClaimed)] : [0n, 0n]
    }
    const reading = { address: account.address, signTypedData: (message) => account.signTypedData(message), readContract }
    const { paid } = await answer(payer(schemes(reading)['batch-settlement'], required, seen))
    expect('statuses', seen.map((response) => response.status), [402, 402, 200])
    expect('no second deposit', paid.transaction, '')
    expect('money that left', left - available(account.address), 0n)
  })
}
