//! Keys, listings and datanets as the auditor keeps them: the registering commands themselves.

use agora_types::Address;
use agora_types::command::{KeyKind, PublicKey, RegisterDatanet, RegisterKey, RegisterListing, RevokeKey};
use agora_types::key::StatementKey;

use crate::books::{Books, Key};

impl Books {
    pub(crate) fn register_key(&mut self, command: &RegisterKey) -> Result<(), String> {
        if self.keys.contains_key(&command.key) {
            return Err("a key was registered twice".to_owned());
        }
        let key =
            Key { owner: command.head.signer, kind: command.kind, valid_until: command.valid_until, revoked: false };
        self.keys.insert(command.key, key);
        Ok(())
    }

    pub(crate) fn revoke_key(&mut self, command: &RevokeKey) -> Result<(), String> {
        let key = self.keys.get_mut(&command.key).ok_or("an unknown key was revoked")?;
        if key.owner != command.head.signer {
            return Err("a key was revoked by another".to_owned());
        }
        key.revoked = true;
        Ok(())
    }

    pub(crate) fn speaks_for(&self, key: &StatementKey, host: &Address) -> Result<(), String> {
        let known = self.keys.get(&PublicKey::Statement(*key));
        let good = known.is_some_and(|key| {
            key.owner == *host && key.kind == KeyKind::Receipt && !key.revoked && key.valid_until > self.now
        });
        if good { Ok(()) } else { Err("a receipt is signed by a key that does not speak for its host".to_owned()) }
    }

    pub(crate) fn register_listing(&mut self, command: &RegisterListing) -> Result<(), String> {
        let paid = command.hosts.iter().chain([&command.model_owner]);
        if paid.into_iter().any(|account| self.is_keyless(account)) {
            return Err("a listing pays an account without a key".to_owned());
        }
        if command.datanets.iter().any(|share| share.weight == 0 || !self.datanets.contains_key(&share.datanet)) {
            return Err("a listing names a datanet that is not there".to_owned());
        }
        let id = command.listing();
        self.listing_accounts.insert(Address::listing(&id));
        self.listings.insert(id, command.clone());
        Ok(())
    }

    pub(crate) fn register_datanet(&mut self, command: &RegisterDatanet) -> Result<(), String> {
        let id = command.datanet();
        let before = self.datanets.get(&id).map_or(0, |datanet| datanet.version);
        if before.checked_add(1) != Some(command.version) {
            return Err("a datanet version does not follow the one before".to_owned());
        }
        if command.members.iter().any(|member| member.weight == 0 || self.is_keyless(&member.account)) {
            return Err("a datanet pays an account without a key".to_owned());
        }
        self.datanets.insert(id, command.clone());
        Ok(())
    }
}
