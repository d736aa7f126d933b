// Our own buyers, `agora call` and an agent, at a stock @x402/express seller that uses our facilitator.
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { agora, available, check, expect, expectThat } from './lib.mjs'
import { asset, batchServer, close, facilitator, network, payTo, price, shop } from './shop.mjs'

// Not execFileSync: the seller lives in this process and must answer meanwhile.
const run = promisify(execFile)

const name = `caller-${process.pid}`
const { address } = agora('wallet', 'new', name)
agora('wallet', 'send', address, '1', '--yes', '--max-spend', '1')
const call = (path, most) => run(process.env.AGORA_PROGRAM, ['call', `${shop}/${path}`, '--from', name, '--max-spend', most])
for (const [scheme, charge] of [['exact', price], ['upto', price / 4n]]) {
  await check(`agora call pays a stock express seller by ${scheme}`, async () => {
    const [before, seller] = [available(address), available(payTo)]
    const { stdout } = await call(scheme, '0.01')
    expect('the answer', JSON.parse(stdout), { sold: scheme })
    expect('money that left', before - available(address), charge)
    expect('money that came', available(payTo) - seller, charge)
  })
}
await check('agora call pays nothing above --max-spend', async () => {
  const before = available(address)
  const failed = await call('exact', '0.0001').then(() => undefined, (error) => error)
  expectThat('a failure', failed?.code > 0, failed)
  expect('money that left', before - available(address), 0n)
})

const agent = 'courier'
deploy()
for (const [scheme, charge] of [['exact', price], ['upto', price / 4n]]) {
  await check(`an agent pays a stock express seller by ${scheme}`, async () => {
    const seller = available(payTo)
    const answer = await sent(scheme)
    expect('what the agent was told it paid', BigInt(answer.paid), charge)
    expect('money that came', available(payTo) - seller, charge)
  })
}
await check('an agent pays a stock express seller by batch-settlement: deposit, then vouchers', async () => {
  const charge = (price * 4n) / 10n
  const seller = available(payTo)
  for (let turn = 0; turn < 3; turn += 1) {
    expect('what the agent was told it paid', BigInt((await sent('batch-settlement')).paid), charge)
  }
  expect('money that came before the claim', available(payTo) - seller, 0n)
  const { claims } = await batchServer.createChannelManager(facilitator, network, asset).claimAndSettle()
  expect('vouchers claimed', claims.map((claim) => claim.vouchers), [1])
  expect('money that came', available(payTo) - seller, 3n * charge)
})
await check('an agent pays nothing above what it said it pays', async () => {
  const seller = available(payTo)
  const failed = await sent('exact', price - 1n).then(() => undefined, (error) => error)
  expectThat('a failure', failed !== undefined, failed)
  expect('money that came', available(payTo) - seller, 0n)
})
await check('an agent that is stopped begins to take back what its channel still holds', async () => {
  const stopped = agora('agent', 'stop', agent)
  // The seller names the least deposit; three vouchers took 40 % of the price each.
  expectThat('money on its way back', BigInt(stopped.waiting) > 0n && BigInt(stopped.waiting) < 10n * price, stopped.waiting)
  const [until, now] = [Number(BigInt(stopped.until) / 1_000_000_000n), Date.now() / 1000]
  expectThat('when it comes: after the delay', until > now + 600 && until < now + 31 * 86_400, until)
})
close()

/** Deploys the agent that fetches, with the shop as the only host it may ask. */
function deploy() {
  const folder = mkdtempSync(join(tmpdir(), 'agora-interop-agent-'))
  const of = (file) => join(process.env.INTEROP_AGENTS, file)
  const manifest = readFileSync(of('courier.toml'), 'utf8')
  const granted = manifest.replace(/^hosts = .*$/m, `hosts = ["${new URL(shop).host}"]`)
  expectThat('a manifest that grants hosts', granted !== manifest, manifest)
  copyFileSync(of('courier.wasm'), join(folder, 'courier.wasm'))
  writeFileSync(join(folder, 'agent.toml'), granted)
  agora('agent', 'deploy', join(folder, 'agent.toml'), '--yes', '--max-spend', '2')
  rmSync(folder, { recursive: true })
}

/** Sends the agent to a route of the shop; what it says of the answer, which must be the route's. */
async function sent(scheme, most = 10n ** 16n) {
  const errand = { url: `${shop}/${scheme}`, pay_at_most: most.toString() }
  const { stdout } = await run(process.env.AGORA_PROGRAM, ['--json', 'agent', 'ask', agent, JSON.stringify(errand)])
  const last = JSON.parse(stdout.trimEnd().split('\n').at(-1))
  const answer = JSON.parse(last.answer.text)
  expect('status', answer.status, 200)
  expect('answer', JSON.parse(answer.text), { sold: scheme })
  return answer
}
