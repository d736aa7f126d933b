// A stock @x402/express seller that uses our facilitator: one route for each scheme.
import express from 'express'
import { HTTPFacilitatorClient } from '@x402/core/server'
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from '@x402/express'
import { ExactEvmScheme } from '@x402/evm/exact/server'
import { UptoEvmScheme } from '@x402/evm/upto/server'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/server'
import { agora, node, offered, post, question } from './lib.mjs'

/** The most that a route costs, atoms. */
export const price = 10n ** 15n
export const { secret: token, account: payTo } = agora('payment', 'seller', 'add', `shop-${process.pid}`)
export const { network, asset } = await terms()

const bearer = { Authorization: `Bearer ${token}` }
export const facilitator = new HTTPFacilitatorClient({
  url: node,
  createAuthHeaders: async () => ({ verify: bearer, settle: bearer, supported: bearer }),
})
export const batchServer = new BatchSettlementEvmScheme(payTo)
const server = new x402ResourceServer(facilitator)
  .register(network, new ExactEvmScheme())
  .register(network, new UptoEvmScheme())
  .register(network, batchServer)
const cost = { amount: price.toString(), asset, extra: { name: 'OPEN', version: '1' } }
const route = (scheme) => ({ accepts: { scheme, price: cost, network, payTo }, description: `paid by ${scheme}` })
const app = express()
app.use(
  paymentMiddleware(
    {
      'GET /exact': route('exact'),
      'GET /upto': route('upto'),
      'GET /batch-settlement': route('batch-settlement'),
    },
    server,
  ),
)
app.get('/exact', (_, response) => response.json({ sold: 'exact' }))
app.get('/upto', (_, response) => {
  setSettlementOverrides(response, { amount: '25%' })
  response.json({ sold: 'upto' })
})
app.get('/batch-settlement', (_, response) => {
  setSettlementOverrides(response, { amount: '40%' })
  response.json({ sold: 'batch-settlement' })
})
const listener = await new Promise((resolve) => {
  const started = app.listen(0, '127.0.0.1', () => resolve(started))
})
export const shop = `http://127.0.0.1:${listener.address().port}`

/** Ends the seller. */
export function close() {
  listener.close()
  listener.closeAllConnections()
}

/** Network and asset as the node's own offers name them. */
async function terms() {
  const told = await offered(`${node}/v1/chat/completions`, post(question('hi', 1)))
  return told.accepts[0]
}
