//! The keys that tokens are checked with, each bound to the one algorithm that it is for. It does not read files,
//! see `jwks.rs`, nor claims, see `token.rs`.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, Jwk, OctetKeyParameters};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};
use serde::de::DeserializeOwned;

/// Shortest secret for HS256 in bytes: as long as its hash (RFC 7518, section 3.2).
pub const SECRET_MIN_BYTES: usize = 32;
/// Shortest and longest RSA modulus in bits: shorter ones are not safe, longer ones cost too much per sign-in.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Where the keys of this moment come from.
pub trait KeySource: Send + Sync {
    /// The keys to check the next token with. Returns at once and does no IO.
    fn keys(&self) -> Arc<KeySet>;
}

/// Why something is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret is too easy to guess.
    #[error("a secret has at least {SECRET_MIN_BYTES} bytes")]
    ShortSecret,
    /// Somebody gave a public key where a secret is meant: with it, everybody could sign.
    #[error("a PEM key is not a secret: give public keys as a JWKS file")]
    PemSecret,
    /// Not RSA numbers, or of a length that is not accepted.
    #[error("an RSA key has a modulus of {} to {} bits and an odd exponent of at least 3", RSA_BITS.start(), RSA_BITS.end())]
    Rsa,
    /// Not a point of the curve.
    #[error("an EC key is a point of the curve P-256")]
    Ec,
}

/// A key and the only algorithm that it verifies. What a token says about its algorithm is compared, never obeyed.
#[derive(Debug)]
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// HS256 with a shared secret, as its bytes.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] or [`KeyError::PemSecret`].
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(KeyError::PemSecret);
        }
        if secret.len() < SECRET_MIN_BYTES {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self::new(Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// RS256 with the modulus and exponent of a JWK (base64url).
    ///
    /// # Errors
    /// [`KeyError::Rsa`].
    pub fn rs256(modulus: &str, exponent: &str) -> Result<Self, KeyError> {
        let key = DecodingKey::from_rsa_components(modulus, exponent).map_err(|_| KeyError::Rsa)?;
        // The library looks at these numbers only when a token comes, and would then blame the token.
        match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } if RSA_BITS.contains(&bits(n)) && is_exponent(e) => {}
            _ => return Err(KeyError::Rsa),
        }
        Ok(Self::new(Algorithm::RS256, key))
    }

    /// ES256 with the coordinates of a JWK (base64url).
    ///
    /// # Errors
    /// [`KeyError::Ec`].
    pub fn es256(x: &str, y: &str) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ec_components(x, y).map_err(|_| KeyError::Ec)?;
        // An empty signature is wrong under every key, but only a point of the curve gets as far as saying so.
        jsonwebtoken::crypto::verify("", b"", &key, Algorithm::ES256).map_err(|_| KeyError::Ec)?;
        Ok(Self::new(Algorithm::ES256, key))
    }

    /// HS256 with the value of a JWK (base64url).
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`], for what is not base64url too.
    pub fn hs256_from_jwk(value: &str) -> Result<Self, KeyError> {
        let octets = OctetKeyParameters { value: value.to_owned(), ..OctetKeyParameters::default() };
        let jwk = Jwk { common: CommonParameters::default(), algorithm: AlgorithmParameters::OctetKey(octets) };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::ShortSecret)?;
        Self::hs256(key.try_get_as_bytes().map_err(|_| KeyError::ShortSecret)?)
    }

    /// The same key under a name (`kid`).
    #[must_use]
    pub fn named(self, id: Option<&str>) -> Self {
        Self { id: id.map(Box::from), ..self }
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { id: None, algorithm, key }
    }
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].first().map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize)
}

fn is_exponent(number: &[u8]) -> bool {
    let odd = number.last().is_some_and(|last| last & 1 == 1);
    odd && (2..=32).contains(&bits(number))
}

/// Why no key vouches for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// There is no key of the name that the token gives.
    UnknownKey,
    /// The keys that it could be signed with are for another algorithm than it says.
    WrongAlgorithm,
    /// The signature fits no key.
    WrongSignature,
    /// The signature is good, but the payload is not the expected JSON; or there are no parts at all.
    Malformed,
}

/// All keys of one moment.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// A set of these keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no token can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The payload of a token that one of the keys vouches for. `header` is the token's own, decoded.
    ///
    /// A `kid` selects the keys of that name; a key without a name, such as a plain secret, answers to any. Without
    /// a `kid` each key of the token's algorithm is tried, so the cost is bounded by the number of keys.
    ///
    /// # Errors
    /// [`Unverified`] says what did not fit.
    pub fn verify<T: DeserializeOwned>(&self, header: &Header, token: &str) -> Result<T, Unverified> {
        let Some((message, signature)) = token.rsplit_once('.') else { return Err(Unverified::Malformed) };
        let mut fault = Unverified::UnknownKey;
        for key in &self.0 {
            if let (Some(wanted), Some(id)) = (&header.kid, &key.id)
                && **wanted != **id
            {
                continue;
            }
            if key.algorithm != header.alg {
                if fault == Unverified::UnknownKey {
                    fault = Unverified::WrongAlgorithm;
                }
                continue;
            }
            match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm) {
                // "Insecure" is reading a payload whose signature nobody checked: that was the line above. The
                // library's `decode` would also judge the claims, by the system's clock and by its own rules.
                Ok(true) => return insecure_decode_claims(token).map_err(|_| Unverified::Malformed),
                Ok(false) | Err(_) => fault = Unverified::WrongSignature,
            }
        }
        Err(fault)
    }
}

/// One secret that stays for the life of the process.
#[derive(Debug, Clone)]
pub struct FixedKeys(Arc<KeySet>);

impl FixedKeys {
    /// HS256 with this secret.
    ///
    /// # Errors
    /// [`KeyError`] says why it is not a secret.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        Key::hs256(secret).map(|key| Self(Arc::new(KeySet::new(vec![key]))))
    }
}

impl KeySource for FixedKeys {
    fn keys(&self) -> Arc<KeySet> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures;

    #[test]
    fn a_secret_is_long_and_not_a_public_key() {
        assert_eq!(FixedKeys::from_secret(&[b'x'; 31]).unwrap_err(), KeyError::ShortSecret);
        assert!(FixedKeys::from_secret(&[b'x'; 32]).is_ok());
        assert_eq!(FixedKeys::from_secret(fixtures::RSA_PUBLIC_PEM.as_bytes()).unwrap_err(), KeyError::PemSecret);
        assert_eq!(Key::hs256_from_jwk("c2hvcnQ").unwrap_err(), KeyError::ShortSecret);
        assert_eq!(Key::hs256_from_jwk("not base64url!").unwrap_err(), KeyError::ShortSecret);
    }

    #[test]
    fn weak_and_broken_rsa_numbers_are_no_key() {
        assert!(Key::rs256(fixtures::RSA_N, "AQAB").is_ok());
        assert!(Key::rs256(fixtures::RSA_N, "Aw").is_ok());
        for exponent in ["", "AQ", "Ag", "AQAC", "AQAAAAE", "?"] {
            assert_eq!(Key::rs256(fixtures::RSA_N, exponent).unwrap_err(), KeyError::Rsa, "{exponent}");
        }
        for modulus in [fixtures::RSA_1024_N, "", "AAAA", "?"] {
            assert_eq!(Key::rs256(modulus, "AQAB").unwrap_err(), KeyError::Rsa, "{modulus}");
        }
    }

    #[test]
    fn a_point_off_the_curve_is_no_key() {
        assert!(Key::es256(fixtures::EC_X, fixtures::EC_Y).is_ok());
        for (x, y) in [(fixtures::EC_X, fixtures::EC_X), (fixtures::EC_X, ""), ("", ""), ("?", "?")] {
            assert_eq!(Key::es256(x, y).unwrap_err(), KeyError::Ec);
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let shown = format!("{:?}", FixedKeys::from_secret(fixtures::SECRET.as_bytes()).unwrap());
        assert!(!shown.contains(fixtures::SECRET) && !shown.contains("115, 101"), "{shown}");
    }
}
