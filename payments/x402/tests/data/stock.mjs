// Makes stock.json: headers and documents as the stock x402 SDK 2.27 writes them, one of each scheme.
// Run in an empty folder: npm i @x402/core@2.27.0 @x402/evm@2.27.0 viem@2.57.20 && node stock.mjs > stock.json
// Clock and randomness are pinned before the SDK loads, so that a second run writes the same bytes.
Date.now = () => 1_800_000_000_000
let counter = 0
globalThis.crypto.getRandomValues = (bytes) => { counter += 1; return bytes.fill(0x10 + counter) }

const { x402Client, x402HTTPClient } = await import('@x402/core/client')
const http = await import('@x402/core/http')
const { ExactEvmScheme } = await import('@x402/evm/exact/client')
const { UptoEvmScheme } = await import('@x402/evm/upto/client')
const { BatchSettlementEvmScheme } = await import('@x402/evm/batch-settlement/client')
const { privateKeyToAccount } = await import('viem/accounts')
const { hashTypedData } = await import('viem')

const chainId = 4020711
const network = 'eip155:' + chainId
const asset = '0x4F50454E00000000000000000000000000000001'
const payer = privateKeyToAccount('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d')
const seller = privateKeyToAccount('0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a')
const facilitator = privateKeyToAccount('0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6')

const base = { network, asset, payTo: seller.address, maxTimeoutSeconds: 300 }
const token = { name: 'OPEN', version: '1' }
const offers = {
  exact: { scheme: 'exact', amount: '1000', ...base, extra: token },
  upto: { scheme: 'upto', amount: '5000', ...base, extra: { ...token, facilitatorAddress: facilitator.address } },
  'batch-settlement': { scheme: 'batch-settlement', amount: '100', ...base,
    extra: { ...token, receiverAuthorizer: facilitator.address, withdrawDelay: 900, minDeposit: '1000' } },
}
const resource = { url: 'https://seller.example/v1/chat', description: 'an answer', mimeType: 'application/json',
  serviceName: 'Agora', tags: ['llm'] }
const required = (accepts) => ({ x402Version: 2, error: 'Payment required', resource, accepts, extensions: {} })

const out = { required: {}, payloads: {} }
for (const [scheme, offer] of Object.entries(offers)) {
  const Scheme = { exact: ExactEvmScheme, upto: UptoEvmScheme, 'batch-settlement': BatchSettlementEvmScheme }[scheme]
  const client = new x402Client().register(network, new Scheme(payer))
  client.setSpendControls({ allowedAssets: [{ network, asset, maxAmountPerPayment: '100000' }] })
  const web = new x402HTTPClient(client)
  const header = http.encodePaymentRequiredHeader(required([offer]))
  const read = http.decodePaymentRequiredHeader(header)
  const payload = await client.createPaymentPayload(read)
  out.required[scheme] = header
  out.payloads[scheme] = Object.values(web.encodePaymentSignatureHeader(payload))[0]
  if (scheme === 'batch-settlement') {
    // The channel has its deposit now: the next payment is a voucher alone.
    const settle = { success: true, transaction: '0x' + '12'.repeat(32), network, payer: payer.address, amount: '1000',
      extra: { chargedAmount: '37', channelState: { chargedCumulativeAmount: '37' } } }
    const response = http.encodePaymentResponseHeader(settle)
    await web.processPaymentResult(payload, (name) => name === 'PAYMENT-RESPONSE' ? response : null, 200)
    const voucher = await client.createPaymentPayload(read)
    out.response = response
    out.payloads.voucher = Object.values(web.encodePaymentSignatureHeader(voucher))[0]
  }
}

// offer-receipt, EIP-712 form: digests and signatures by an independent library.
const fields = (text) => text.split(',').map((f) => { const [type, name] = f.trim().split(' '); return { name, type } })
const sign = async (name, primaryType, types, message) => {
  const typed = { domain: { name, version: '1', chainId: 1 }, types: { [primaryType]: fields(types) }, primaryType, message }
  return { digest: hashTypedData(typed), signature: await seller.signTypedData(typed) }
}
out.offer = await sign('x402 offer', 'Offer', 'uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil',
  { version: 1n, resourceUrl: resource.url, scheme: 'exact', network, asset, payTo: seller.address, amount: '1000', validUntil: 1800000300n })
out.receipt = await sign('x402 receipt', 'Receipt', 'uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction',
  { version: 1n, network, resourceUrl: resource.url, payer: payer.address, issuedAt: 1800000000n, transaction: '' })
console.log(JSON.stringify(out, null, 1))
