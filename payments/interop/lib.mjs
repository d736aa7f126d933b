// What the checks share: named checks, the node's command line, funded accounts, stock clients.
//
// A check prints one line to stdout: ok, FAILED or skipped, its name, and what it says, with tabs between. Everything else
// goes to stderr.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { UptoEvmScheme } from '@x402/evm/upto/client'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/client'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'

export const node = process.env.AGORA_URL
export const small = process.env.INTEROP_SMALL === '1'

/** What a check waits for at most, ms. */
const PATIENCE_MS = 60_000
/** The most that one payment may cost, atoms: 0.1 OPEN. */
const MOST = 10n ** 17n

/** Runs a check and reports it; a failure does not end the others. */
export async function check(name, body) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${PATIENCE_MS} ms`)), PATIENCE_MS)
  })
  try {
    tell('ok', name, (await Promise.race([body(), late])) ?? '')
  } catch (error) {
    tell('FAILED', name, error?.message ?? error)
    console.error(error)
  } finally {
    clearTimeout(timer)
  }
}

/** Reports a check that this node cannot do yet. */
export function skip(name, said) {
  tell('skipped', name, said)
}

function tell(verdict, ...words) {
  console.log([verdict, ...words.map((word) => String(word).replaceAll(/\s+/g, ' '))].join('\t'))
}

/** Fails with what was expected and what came. */
export function expect(what, came, expected) {
  if (!isDeepStrictEqual(came, expected)) throw new Error(`${what}: expected ${show(expected)}, got ${show(came)}`)
}

/** Fails unless it holds. */
export function expectThat(what, holds, came) {
  if (!holds) throw new Error(`expected: ${what}; got ${show(came)}`)
}

function show(value) {
  const text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v)) ?? String(value)
  return text.length > 400 ? `${text.slice(0, 400)}…` : text
}

/** A command of the node's program, as JSON. */
export function agora(...args) {
  const text = execFileSync(process.env.AGORA_PROGRAM, ['--json', '--quiet', ...args], { encoding: 'utf8' })
  return JSON.parse(text)
}

/** Deploys the agent that sells summaries, once for a node; where it sells. */
export function summariser() {
  const known = agora('agent', 'list').agents.some((agent) => agent.name === 'summariser')
  if (!known) agora('agent', 'deploy', join(process.env.INTEROP_AGENTS, 'summariser.wasm'), '--yes', '--max-spend', '5')
  return `${node}/agents/summariser/`
}

/** What it is asked for. */
export const order = post({ text: 'A wreck belongs to the crown unless its owner claims it within a year.', words: 10 })

/** A new key with money on it. */
export function funded(open = '1') {
  const account = privateKeyToAccount(generatePrivateKey())
  agora('wallet', 'send', account.address, open, '--yes', '--max-spend', open)
  return account
}

/** Atoms that an account has, those in channels and holds not counted. */
export function available(address) {
  return BigInt(agora('wallet', 'balance', address).available)
}

/** What a header of the protocol carries. */
export function decoded(response, name) {
  const header = response.headers.get(name)
  return header === null ? undefined : JSON.parse(Buffer.from(header, 'base64').toString('utf8'))
}

/** What an unpaid request is told. */
export async function offered(url, init) {
  const response = await fetch(url, init)
  expect('status of an unpaid request', response.status, 402)
  return decoded(response, 'payment-required')
}

/** The stock schemes of a buyer. */
export function schemes(account, batch = {}) {
  return {
    exact: new ExactEvmScheme(account),
    upto: new UptoEvmScheme(account),
    'batch-settlement': new BatchSettlementEvmScheme(account, batch),
  }
}

/** The stock fetch that pays by one scheme, and notes every answer that it saw. */
export function payer(scheme, required, seen = [], spy = fetch) {
  const { network, asset } = required.accepts[0]
  const client = new x402Client((_, accepts) => accepts.find((offer) => offer.scheme === scheme.scheme))
  client.register(network, scheme)
  client.setSpendControls({ allowedAssets: [{ network, asset, maxAmountPerPayment: MOST.toString() }] })
  const noting = async (...args) => {
    const response = await spy(...args)
    seen.push(response)
    return response
  }
  return wrapFetchWithPayment(noting, client)
}

/** A POST of JSON. */
export function post(body) {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}

/** A question to the model that every run publishes. */
export function question(words, tokens, more = {}) {
  return { model: 'parrot', messages: [{ role: 'user', content: words }], max_tokens: tokens, ...more }
}

/**
 * Reads a stream to its end and answers with its events' data, in order. Throws where the stream was gathered before it
 * was sent: a request that begins with the first piece must be answered before the last piece comes.
 */
export async function streamed(response) {
  const [order, decoder] = [[], new TextDecoder()]
  let text = ''
  let other
  for await (const piece of response.body) {
    if (other === undefined) {
      other = fetch(`${node}/v1/models`).then((answer) => answer.text()).then(() => order.push('another answer'))
    }
    order.push('piece')
    text += decoder.decode(piece, { stream: true })
  }
  order.push('end')
  await other
  const pieces = order.slice(order.indexOf('another answer')).filter((event) => event === 'piece').length
  expectThat('pieces after the answer to a request that began with the first piece', pieces > 1, order)
  return text.split('\n\n').filter((event) => event.startsWith('data: ')).map((event) => event.slice(6))
}

/** Waits until it holds, looking ten times a second. */
export async function until(what, holds) {
  for (let turn = 0; turn < 100; turn += 1) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${what}: not within 10 s`)
}
