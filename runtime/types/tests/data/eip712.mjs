// Makes eip712.json: EIP-712 digests and signatures of the commands in tests/samples, by an independent library.
// Run in an empty folder: npm i viem@2.57.20 && node eip712.mjs > eip712.json
import { hashTypedData, encodeAbiParameters, keccak256, toHex, sha256 } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const chainId = 4020711
const asset = '0x4F50454E00000000000000000000000000000001'
const payer = privateKeyToAccount('0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d')
const seller = privateKeyToAccount('0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a')
const facilitator = privateKeyToAccount('0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6')
const ledger = { name: 'Agora Ledger', version: '1', chainId, verifyingContract: asset }
const token = { name: 'OPEN', version: '1', chainId, verifyingContract: asset }
const batch = { name: 'x402 Batch Settlement', version: '1', chainId, verifyingContract: '0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003' }

const fields = (text) => text.split(',').map((f) => { const [type, name] = f.trim().split(' '); return { name, type } })
const rep = (byte, size) => '0x' + byte.repeat(size)
const num = (byte) => BigInt(rep(byte, 16))
const expiresAt = 1900000000000000000n
const head = { signer: payer.address, id: num('21'), expiresAt }
const hostHead = { ...head, signer: facilitator.address }
const H = 'address signer,uint128 id,uint64 expiresAt'

const configTypes = { ChannelConfig: fields('address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt') }
const config = { payer: payer.address, payerAuthorizer: payer.address, receiver: seller.address, receiverAuthorizer: facilitator.address, token: asset, withdrawDelay: 900, salt: rep('00', 32) }
const channelId = hashTypedData({ domain: batch, types: configTypes, primaryType: 'ChannelConfig', message: config })
const nonce = keccak256(encodeAbiParameters([{ type: 'bytes32' }, { type: 'uint256' }], [channelId, 0n]))

// The Ed25519 public key of the secret 32 x 0x07.
const receiptKey = '0xea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c'

const list = []
const add = async (name, account, domain, primaryType, types, message) => {
  const typed = { domain, types, primaryType, message }
  list.push({ name, digest: hashTypedData(typed), signature: await account.signTypedData(typed) })
}
const own = (name, account, type, text, message, more = {}) =>
  add(name, account, ledger, type, { [type]: fields(H + ',' + text), ...more }, message)

await own('transfer', payer, 'Transfer', 'address credit,uint128 amount,bool pending,uint32 timeoutSeconds,address settler,uint64 reference,bool hasReceipt,uint64 receipt',
  { ...head, credit: seller.address, amount: 20000000000000000000n, pending: true, timeoutSeconds: 60, settler: facilitator.address, reference: 77n, hasReceipt: true, receipt: 5n })
await own('post_transfer', facilitator, 'PostTransfer', 'address pendingSigner,uint128 pendingId,uint128 amount', { ...hostHead, pendingSigner: payer.address, pendingId: num('22'), amount: 1234n })
await own('void_transfer', facilitator, 'VoidTransfer', 'address pendingSigner,uint128 pendingId', { ...hostHead, pendingSigner: payer.address, pendingId: num('22') })
await own('register_key', payer, 'RegisterKey', 'uint8 kind,bytes key,uint64 validUntil', { ...head, kind: 2, key: receiptKey, validUntil: 2000000000000000000n })
await own('revoke_key', payer, 'RevokeKey', 'uint8 kind,bytes key', { ...head, kind: 2, key: receiptKey })
const auth = 'address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce'
await add('deposit', payer, token, 'ReceiveWithAuthorization', { ReceiveWithAuthorization: fields(auth) },
  { from: payer.address, to: '0x4020806089470a89826cB9fB1f4059150b550004', value: 100000n, validAfter: 0n, validBefore: 1900000000n, nonce })
await add('claim', facilitator, batch, 'ClaimBatch', { ClaimBatch: fields('ClaimEntry[] claims'), ClaimEntry: fields('bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed') },
  { claims: [{ channelId, maxClaimableAmount: 5000n, totalClaimed: 4000n }] })
await own('settle', payer, 'Settle', 'address receiver', { ...head, receiver: seller.address })
await add('refund', facilitator, batch, 'Refund', { Refund: fields('bytes32 channelId,uint256 nonce,uint128 amount') }, { channelId, nonce: 3n, amount: 600n })
await own('withdraw_start', payer, 'WithdrawStart', 'bytes32 channelId', { ...head, channelId })
await own('withdraw_finish', payer, 'WithdrawFinish', 'bytes32 channelId', { ...head, channelId })
await own('register_listing', payer, 'RegisterListing', 'string name,address modelOwner,address[] hosts,DatanetShare[] datanets,bytes32 baseHash,bool hasAdapter,bytes32 adapterHash,bytes32 terms,bytes32 spec,string method',
  { ...head, name: 'smollm2-maritime', modelOwner: seller.address, hosts: [facilitator.address, seller.address], datanets: [{ datanet: rep('41', 32), weight: 3 }, { datanet: rep('42', 32), weight: 1 }], baseHash: rep('51', 32), hasAdapter: true, adapterHash: rep('52', 32), terms: rep('53', 32), spec: rep('54', 32), method: 'influence' },
  { DatanetShare: fields('bytes32 datanet,uint32 weight') })
await own('register_datanet', payer, 'RegisterDatanet', 'string name,uint32 version,bytes32 root,uint64 treeSize,Member[] members,bytes32 statement',
  { ...head, name: 'maritime-law', version: 2, root: rep('61', 32), treeSize: 9n, members: [{ account: rep('11', 20), weight: 5 }, { account: rep('12', 20), weight: 2 }], statement: rep('66', 32) },
  { Member: fields('address account,uint32 weight') })
await own('settle_call', facilitator, 'SettleCall', 'uint128 callId,bytes32 channelId,uint128 maxClaimable,uint128 charge,uint128 cumulative,bytes32 receiptHash',
  { ...hostHead, callId: num('31'), channelId, maxClaimable: 5000n, charge: 4100n, cumulative: 4100n, receiptHash: sha256(toHex('receipt bytes')) })
await own('finalize_call', facilitator, 'FinalizeCall', 'address payer,uint128 callId,bytes32 receiptHash', { ...hostHead, payer: payer.address, callId: num('31'), receiptHash: sha256(toHex('final receipt bytes')) })
await own('release_vested', payer, 'ReleaseVested', 'uint32 allocation', { ...head, allocation: 4 })
const permit = { name: 'Permit2', chainId, verifyingContract: '0x000000000022D473030F116dDEE9F6B43aC78BA3' }
const permitted = hashTypedData({ domain: permit, primaryType: 'PermitWitnessTransferFrom', types: {
  PermitWitnessTransferFrom: fields('TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness'),
  TokenPermissions: fields('address token,uint256 amount'), Witness: fields('address to,address facilitator,uint256 validAfter') },
  message: { permitted: { token: asset, amount: 5000n }, spender: '0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002', nonce: 7n, deadline: 1900000000n,
    witness: { to: seller.address, facilitator: facilitator.address, validAfter: 0n } } })
await own('hold', facilitator, 'Hold', 'bytes32 authorization,uint32 timeoutSeconds', { ...hostHead, authorization: permitted, timeoutSeconds: 60 })
await own('settle_held', facilitator, 'SettleHeld', 'address payer,uint128 pendingId,uint128 callId,uint128 charge,bytes32 receiptHash',
  { ...hostHead, payer: payer.address, pendingId: BigInt(permitted.slice(0, 34)), callId: num('31'), charge: 1234n, receiptHash: sha256(toHex('receipt bytes')) })
await own('commit_data', payer, 'CommitData', 'bytes32 datanet,bytes32 root,uint32 count,bytes32 licence', { ...head, datanet: rep('41', 32), root: rep('62', 32), count: 7, licence: sha256(toHex('CC-BY-4.0')) })
await own('publish_earnings', facilitator, 'PublishEarnings', 'uint64 epoch,bytes32 root,uint64 count,uint128 total,uint64 receipts', { ...hostHead, epoch: 3n, root: rep('63', 32), count: 5n, total: 987654n, receipts: 77n })
await own('claim_earnings', payer, 'ClaimEarnings', 'address host,uint64 epoch,address account,uint128 cumulative,uint64 index,bytes32[] path',
  { ...head, host: facilitator.address, epoch: 3n, account: payer.address, cumulative: 4321n, index: 2n, path: [rep('64', 32), rep('65', 32)] })
await add('voucher', payer, batch, 'Voucher', { Voucher: fields('bytes32 channelId,uint128 maxClaimableAmount') }, { channelId, maxClaimableAmount: 5000n })
await add('submission', seller, ledger, 'Submission', { Submission: fields('address submitter,bytes32 command,uint128 gasMax') }, { submitter: seller.address, command: list[0].digest, gasMax: 9n })
console.log(JSON.stringify({ library: 'viem 2.57.20', chainId, asset, channelId, vectors: list }, null, 1))
