//! One page of a catalogue of paid resources.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Accept, Document, Object, Version, or_default};

/// Most items of a page.
pub const PAGE_MAX: u32 = 100;

/// Answer to `GET /discovery/resources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryPage {
    /// 2.
    pub x402_version: Version,
    /// The resources.
    pub items: Vec<DiscoveryItem>,
    /// Where this page is.
    pub pagination: Pagination,
}

impl Document for DiscoveryPage {
    const NAME: &'static str = "DiscoveryPage";
    const SIZE_MAX: usize = 1024 * 1024;
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryItem {
    /// Its URL.
    pub resource: String,
    /// `http` or `mcp`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of its offers; catalogues list version 1 too.
    pub x402_version: u64,
    /// Its offers.
    pub accepts: Vec<Accept>,
    /// A time in ISO 8601, or unix seconds: catalogues differ.
    pub last_updated: Value,
    /// By name.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extensions: Object,
}

/// A page among pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pagination {
    /// Most items of a page.
    pub limit: u32,
    /// Items before this page.
    pub offset: u64,
    /// Items in all.
    pub total: u64,
}

impl Pagination {
    /// A page as asked for, within bounds: 1 to [`PAGE_MAX`] items.
    pub fn clamped(limit: Option<u32>, offset: Option<u64>, total: u64) -> Self {
        Self { limit: limit.unwrap_or(20).clamp(1, PAGE_MAX), offset: offset.unwrap_or(0).min(total), total }
    }
}
