// Our own buyer, `agora call`, at a stock @x402/express seller that uses our facilitator.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { agora, available, check, expect, expectThat, skip } from './lib.mjs'

// Not execFileSync: the seller lives in this process and must answer meanwhile.
const run = promisify(execFile)
const program = process.env.AGORA_PROGRAM
const known = await run(program, ['call', '--help']).then(() => true, () => false)
if (known) {
  await pays()
} else {
  skip('agora call pays a stock express seller', 'this program has no `call` command')
}

async function pays() {
  const { close, payTo, price, shop } = await import('./shop.mjs')
  const name = `caller-${process.pid}`
  const { address } = agora('wallet', 'new', name)
  agora('wallet', 'send', address, '1', '--yes', '--max-spend', '1')
  const call = (path, most) => run(program, ['--json', 'call', `${shop}/${path}`, '--from', name, '--max-spend', most])
  for (const [scheme, charge] of [['exact', price], ['upto', price / 4n], ['batch-settlement', (price * 4n) / 10n]]) {
    await check(`agora call pays a stock express seller by ${scheme}`, async () => {
      const [before, seller] = [available(address), available(payTo)]
      const { stdout } = await call(scheme, '0.01')
      expectThat('the answer', stdout.includes(scheme), stdout)
      const left = before - available(address)
      if (scheme === 'batch-settlement') {
        expectThat('a deposit of at least the charge', left >= charge, left)
      } else {
        expect('money that left', left, charge)
        expect('money that came', available(payTo) - seller, charge)
      }
      return stdout.replaceAll(/\s+/g, ' ')
    })
  }
  await check('agora call pays nothing above --max-spend', async () => {
    const before = available(address)
    const failed = await call('exact', '0.0001').then(() => undefined, (error) => error)
    expectThat('a failure', failed?.code > 0, failed)
    expect('money that left', before - available(address), 0n)
  })
  close()
}
