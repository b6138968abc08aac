//! Amounts as Kubernetes writes them: `100m`, `1.5`, `256Mi`. Both text and bare numbers are taken.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubeQuantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// See the module.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Quantity(String);

/// Suffixes and what they multiply by. Longer ones first, since `Mi` also ends like `i`.
const BYTE_UNITS: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

impl Quantity {
    /// As the API server takes it.
    #[must_use]
    pub fn to_kube(&self) -> KubeQuantity {
        KubeQuantity(self.0.clone())
    }

    /// The whole bytes that it stands for, rounded down; nothing if it is no amount of memory.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let (unit, factor) = BYTE_UNITS.iter().find(|(unit, _)| self.0.ends_with(unit))?;
        let number: f64 = self.0.strip_suffix(unit)?.parse().ok()?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes of memory are far below 2^53, and the sign was looked at"
        )]
        (number.is_finite() && number >= 0.0).then_some((number * *factor as f64) as u64)
    }
}

impl From<KubeQuantity> for Quantity {
    fn from(amount: KubeQuantity) -> Self {
        Self(amount.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Whole(i64),
            Broken(f64),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            Either::Whole(number) => number.to_string(),
            Either::Broken(number) => number.to_string(),
        }))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Without a sign: no amount here can be negative. Exponents are left out; nobody writes memory that way.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": "^([0-9]+|[0-9]+[.][0-9]+|[.][0-9]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_kinds_of_units() {
        let bytes = |text: &str| Quantity::from(text).bytes();
        assert_eq!(bytes("256Mi"), Some(256 << 20));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("2G"), Some(2_000_000_000));
        assert_eq!(bytes("1000"), Some(1000));
        assert_eq!((bytes("100m"), bytes("many"), bytes("-1Mi")), (None, None, None));
    }

    #[test]
    fn a_bare_number_is_an_amount_too() {
        let read: Vec<Quantity> = serde_json::from_str(r#"["100m", 2, 0.5]"#).unwrap();
        assert_eq!(read, ["100m".into(), "2".into(), "0.5".into()]);
    }
}
