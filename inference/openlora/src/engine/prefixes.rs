//! Full pages that may be found again by a prompt that begins alike.
//!
//! A page's name is a hash over everything that its numbers depend on: the adapter, and all tokens up to its end. The
//! payer is part of it too, so that nobody learns from a prompt's speed or price what another one asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agora_kernels::{PAGE, Page};
use agora_types::{Address, Hash};

/// Pages by name, the least recently used first to go.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    pages: HashMap<Hash, (Arc<Page>, u64)>,
    by_use: BTreeMap<u64, Hash>,
    clock: u64,
}

impl Prefixes {
    /// The name before the first page.
    pub(super) fn start(adapter: Option<Hash>, payer: Option<Address>) -> Hash {
        let mut hash = Hash::stream();
        hash.piece("agora/prefix/v1");
        hash.piece(adapter.as_ref().map_or(&[][..], |adapter| adapter.as_bytes().as_slice()));
        hash.piece(payer.as_ref().map_or(&[][..], |payer| payer.as_bytes().as_slice()));
        hash.finish()
    }

    /// The name of the page that holds `tokens` behind the page `before`.
    pub(super) fn next(before: &Hash, tokens: &[u32]) -> Hash {
        let mut hash = Hash::stream();
        hash.piece(before.as_bytes());
        tokens.iter().for_each(|token| hash.piece(token.to_be_bytes()));
        hash.finish()
    }

    /// Pages.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.pages.len()
    }

    /// The full pages that `tokens` begin with, and the name of the last. One token at least is left to compute.
    pub(super) fn find(&mut self, start: Hash, tokens: &[u32]) -> (Vec<Arc<Page>>, Hash) {
        let (mut found, mut names) = (Vec::new(), vec![start]);
        let most = tokens.len().saturating_sub(1) / PAGE;
        for tokens in tokens.as_chunks::<PAGE>().0.iter().take(most) {
            let name = Self::next(&names[names.len() - 1], tokens);
            let Some((page, _)) = self.pages.get(&name) else { break };
            found.push(Arc::clone(page));
            names.push(name);
        }
        // The first page counts as the last used: a chain goes from its end.
        for name in names[1..].iter().rev() {
            self.touch(name);
        }
        (found, names[names.len() - 1])
    }

    /// Keeps a page.
    pub(super) fn insert(&mut self, name: Hash, page: &Arc<Page>) {
        self.pages.entry(name).or_insert_with(|| (Arc::clone(page), 0));
        self.touch(&name);
    }

    /// Lets go of what was used least, until at most `most` are kept.
    pub(super) fn shrink(&mut self, most: usize) {
        while self.pages.len() > most {
            let Some((_, name)) = self.by_use.pop_first() else { return };
            self.pages.remove(&name);
        }
    }

    fn touch(&mut self, name: &Hash) {
        if let Some((_, used)) = self.pages.get_mut(name) {
            self.by_use.remove(used);
            self.clock += 1;
            *used = self.clock;
            self.by_use.insert(self.clock, *name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Arc<Page> {
        Arc::new(Page::new(1, 16).unwrap())
    }

    /// Keeps the full pages of `tokens`.
    fn keep(prefixes: &mut Prefixes, start: Hash, tokens: &[u32]) {
        let mut name = start;
        for tokens in tokens.as_chunks::<PAGE>().0 {
            name = Prefixes::next(&name, tokens);
            prefixes.insert(name, &page());
        }
    }

    #[test]
    fn a_prompt_finds_the_pages_that_it_begins_with_and_leaves_a_token_to_compute() {
        let mut prefixes = Prefixes::default();
        let start = Prefixes::start(None, None);
        let tokens: Vec<u32> = (0..48).collect();
        keep(&mut prefixes, start, &tokens);
        assert_eq!(prefixes.len(), 3);
        assert_eq!(prefixes.find(start, &tokens).0.len(), 2);
        assert_eq!(prefixes.find(start, &[tokens.as_slice(), &[7]].concat()).0.len(), 3);
        assert_eq!(prefixes.find(start, &tokens[..17]).0.len(), 1);
        assert_eq!(prefixes.find(start, &tokens[..16]).0.len(), 0);
        let mut other = tokens.clone();
        other[20] = 99;
        assert_eq!(prefixes.find(start, &other).0.len(), 1);
        assert_eq!(prefixes.find(start, &[]).0.len(), 0);
    }

    #[test]
    fn neither_another_adapter_nor_another_payer_finds_a_page() {
        let mut prefixes = Prefixes::default();
        let tokens: Vec<u32> = (0..40).collect();
        let (adapter, payer) = (Hash::sha256("adapter"), Address::new([7; 20]));
        let starts = [
            Prefixes::start(None, None),
            Prefixes::start(Some(adapter), None),
            Prefixes::start(None, Some(payer)),
            Prefixes::start(Some(adapter), Some(payer)),
        ];
        for (at, start) in starts.into_iter().enumerate() {
            assert_eq!(prefixes.find(start, &tokens).0.len(), 0);
            keep(&mut prefixes, start, &tokens);
            assert_eq!(prefixes.len(), 2 * (at + 1));
        }
    }

    #[test]
    fn what_was_used_least_goes_first_and_a_chain_goes_from_its_end() {
        let mut prefixes = Prefixes::default();
        let start = Prefixes::start(None, None);
        let (old, new): (Vec<u32>, Vec<u32>) = ((0..49).collect(), (100..149).collect());
        keep(&mut prefixes, start, &old);
        keep(&mut prefixes, start, &new);
        assert_eq!(prefixes.find(start, &old).0.len(), 3);
        prefixes.shrink(4);
        assert_eq!((prefixes.find(start, &old).0.len(), prefixes.len()), (3, 4));
        prefixes.shrink(2);
        assert_eq!(prefixes.find(start, &old).0.len(), 2);
        assert_eq!(prefixes.find(start, &new).0.len(), 0);
        prefixes.shrink(0);
        assert_eq!(prefixes.len(), 0);
    }
}
