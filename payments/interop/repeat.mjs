// A hundred concurrent requests with one and the same PAYMENT-SIGNATURE: one is served.
import { agora, available, check, decoded, expect, expectThat, funded, node, offered, order, payer } from './lib.mjs'
import { post, question, schemes, skip, small, summariser } from './lib.mjs'

/** An answer without the second in which it was written down. */
const same = (body) => JSON.stringify({ ...JSON.parse(body), created: 0 })

/** The checks of one scheme at one address. */
async function hundred(what, url, whole, scheme) {
  const required = await offered(url, whole)
  let kept
  await check(`a hundred requests with one signature, ${what}, ${scheme}`, async () => {
    const account = funded()
    const before = available(account.address)
    const receipts = () => agora('receipt', 'list').receipts.filter((one) => one.payer === account.address.toLowerCase())
    let sent
    const spy = async (input, init) => {
      const request = new Request(input, init)
      if (!request.headers.has('payment-signature')) return fetch(request)
      sent = Object.fromEntries(request.headers)
      return new Response('{}')
    }
    await payer(schemes(account)[scheme], required, [], spy)(url, whole)
    const again = () => fetch(url, { ...whole, headers: sent })
    const answers = await Promise.all(Array.from({ length: 100 }, again))
    const bodies = await Promise.all(answers.map((answer) => answer.text()))
    const served = answers.filter((answer) => answer.status === 200 && !answer.headers.has('agora-replayed'))
    expect('served', served.length, 1)
    const first = same(bodies[answers.indexOf(served[0])])
    const counts = { served: 1, replayed: 0, busy: 0 }
    answers.forEach((answer, at) => {
      if (answer === served[0]) return
      if (answer.status === 200) {
        expect('the kept answer', same(bodies[at]), first)
        counts.replayed += 1
      } else {
        expect('status', answer.status, 409)
        counts.busy += 1
      }
    })
    kept = await again()
    expect('status afterwards', kept.status, 200)
    expect('the kept answer', same(await kept.text()), first)
    const charge = BigInt(served[0].headers.get('agora-charge'))
    const paid = decoded(served[0], 'payment-response')
    expect('money that left, once', before - available(account.address), BigInt(paid.amount))
    expectThat('a charge', charge > 0n, charge)
    const calls = new Set(receipts().map((one) => one.call))
    expect('calls with a receipt', calls.size, 1)
    return JSON.stringify(counts)
  })
  const marked = `a repeat afterwards is marked, ${what}, ${scheme}`
  if (kept === undefined) return skip(marked, 'there was none')
  await check(marked, () => expect('Agora-Replayed', kept.headers.get('agora-replayed'), 'true'))
}

for (const scheme of ['exact', 'upto', 'batch-settlement']) {
  await hundred('model', `${node}/v1/chat/completions`, post(question('who owns a wreck', 20)), scheme)
  if (!small) await hundred('agent', summariser(), order, scheme)
}
