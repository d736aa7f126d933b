// The stock openai package of npm with an API key of ours.
import OpenAI from 'openai'
import { agora, check, expect, expectThat, node, question } from './lib.mjs'

const name = `npm-${process.pid}`
const { secret } = agora('payment', 'key', 'add', name, '--budget', '0.01', '--yes')
const client = new OpenAI({ baseURL: `${node}/v1`, apiKey: secret, maxRetries: 0 })
let spent = 0n

await check('openai (npm), models', async () => {
  const models = await client.models.list()
  expectThat('the published model', models.data.some((model) => model.id === 'parrot'), models.data)
  expect('one by its name', (await client.models.retrieve('parrot')).id, 'parrot')
})
await check('openai (npm), a whole completion', async () => {
  const answer = await client.chat.completions.create(question('who owns a wreck', 20))
  expect('tokens', answer.usage.completion_tokens, 20)
  expectThat('an answer', answer.choices[0].message.content.startsWith('who owns a wreck'), answer.choices)
  expectThat('a receipt', /^0x[0-9a-f]{64}$/.test(answer.agora.receipt), answer.agora)
  spent += BigInt(answer.agora.charge)
})
await check('openai (npm), a streamed completion', async () => {
  const more = { stream: true, stream_options: { include_usage: true } }
  const [order, began] = [[], client.chat.completions.create(question('who owns a wreck', 100, more))]
  let [text, last, other] = ['', undefined, undefined]
  for await (const chunk of await began) {
    other ??= client.models.list().then(() => order.push('another answer'))
    order.push('chunk')
    text += chunk.choices[0]?.delta?.content ?? ''
    last = chunk
  }
  await other
  expectThat('chunks after another answer', order.slice(order.indexOf('another answer')).length > 2, order)
  expect('words', text.trim().split(' ').length, 100)
  expect('tokens', last.usage.completion_tokens, 100)
  spent += BigInt(last.agora.charge)
})
await check('openai (npm), a text completion', async () => {
  const answer = await client.completions.create({ model: 'parrot', prompt: 'who owns a wreck', max_tokens: 4 })
  expect('answer', answer.choices[0].text.trim(), 'who owns a wreck')
  spent += BigInt(answer.agora.charge)
})
await check('openai (npm), `payment key list` shows the spending', () => {
  const key = agora('payment', 'key', 'list').keys.find((key) => key.name === name)
  expect('used', BigInt(key.used), spent)
})
await check('openai (npm), a key over its budget gets an error of the SDK with our code', async () => {
  const { secret } = agora('payment', 'key', 'add', `${name}-poor`, '--budget', '0.0001', '--yes')
  const poor = new OpenAI({ baseURL: `${node}/v1`, apiKey: secret, maxRetries: 0 })
  const error = await poor.chat.completions.create(question('who owns a wreck', 1000)).catch((error) => error)
  expectThat('an APIError', error instanceof OpenAI.APIError, String(error))
  expectThat('a code of ours', /^[a-z]+\.[a-z_]+$/.test(error.code ?? ''), error)
  return `${error.status} ${error.code}`
})
await check('openai (npm), an unknown key is an AuthenticationError', async () => {
  const stranger = new OpenAI({ baseURL: `${node}/v1`, apiKey: `${secret}0`, maxRetries: 0 })
  const error = await stranger.chat.completions.create(question('hi', 1)).catch((error) => error)
  expectThat('an AuthenticationError', error instanceof OpenAI.AuthenticationError, String(error))
  return `${error.status} ${error.code}`
})
