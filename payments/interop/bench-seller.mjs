// A stock @x402/express seller that uses our facilitator and only sells, for `cargo xtask bench payments`. It says where;
// when its input ends, it turns its vouchers into money and ends.
import express from 'express'
import { HTTPFacilitatorClient } from '@x402/core/server'
import { paymentMiddleware, x402ResourceServer } from '@x402/express'
import { ExactEvmScheme } from '@x402/evm/exact/server'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/server'
import { agora, node, offered } from './lib.mjs'

const { secret, account: payTo } = agora('payment', 'seller', 'add', 'bench')
const { network, asset, amount } = (await offered(`${node}/weather`)).accepts[0]
const bearer = { Authorization: `Bearer ${secret}` }
const facilitator = new HTTPFacilitatorClient({
  url: node,
  createAuthHeaders: async () => ({ verify: bearer, settle: bearer, supported: bearer }),
})
const channels = new BatchSettlementEvmScheme(payTo)
const server = new x402ResourceServer(facilitator)
  .register(network, channels)
  .register(network, new ExactEvmScheme())
const price = { amount, asset, extra: { name: 'OPEN', version: '1' } }
const accepts = ['exact', 'batch-settlement'].map((scheme) => ({ scheme, price, network, payTo }))

const app = express()
const weather = (_, response) => response.json({ weather: 'rain' })
app.get('/free', weather)
app.use(paymentMiddleware({ 'GET /weather': { accepts, description: 'The weather' } }, server))
app.get('/weather', weather)
const listener = app.listen(0, '127.0.0.1', () => {
  console.log(`selling http://127.0.0.1:${listener.address().port}/weather`)
})

for await (const _ of process.stdin);
const manager = channels.createChannelManager(facilitator, network, asset)
const { claims } = await manager.claimAndSettle()
console.log(`claimed ${claims.reduce((sum, claim) => sum + claim.vouchers, 0)} vouchers`)
listener.close()
listener.closeAllConnections()
