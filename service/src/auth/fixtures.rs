//! TEST KEYS, made for this file and published with it: whoever trusts one of them trusts everybody. And the means
//! to make good and forged tokens with them. Nothing here is compiled into the service.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A shared secret; a test key.
pub(crate) const SECRET: &str = "secret-of-the-tests-0123456789abcdef";

/// An RSA key of 2048 bits; a test key.
pub(crate) const RSA_PRIVATE_PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCIaHdnXIBi6FL/
x3TC4LuW2PRQIl0c5Bv4ouz2R8WiBx+PbuCpSjS30cZPk1Bnm8OS2rfFUr2p7abe
wxc04H16PIn2UoFs7N45Q0KqB/pZCa3UnDbP0hcmw3IrSh+zqFz2yZEDKv05gffX
W72ET0PAqwunoVR+WZ9qzkyXEOIIhoXVunRW2Lrmxdo8vwKwvByFvpFcRd0en/94
7aKc+qCETIC4XEHR73+8gdd1FkVUqY0rDwIINxo8vSyAQHz/8hd4vv48h0M407Gy
K6FO+zPMwd2DaiKo7nV3xp5e2WknIYAaNXplYbCQTBg7xAhFetMfsYbaEpu6q6KA
wmku9NJDAgMBAAECggEAAa5D1l6x6EYTi7pB6orJVOz8aaZavlnjLFeZktlEiqAK
2AIWO4/CAYfQqTdX9MbbDIqsW/6OfrMCbNk7hnfDpAdt7b6LgLOUc2EsR5sMjx9K
6IU6OapNhbk/xV/G7zhCWPoX0tGrSBOdYaZsOd6eJ5gT7y9SMrJZAABlujDHkDJP
hes9eDY/oNeJ8xa0oIO1UNHXJErdzTPdhMwK4fOGONAvaJQVVRp+Ti/XRHtKik6+
JHQFQvWujysfuPkgS/TtKPWfFafRLQu1gyFbPkWGsHxKUnymkbyqBzQ0W+SZxokx
ElWUMxEbbQCAukzWGx/5fD2WycALGs3DkfUZOuaxdQKBgQC8XNbL3ozmtmV40ExC
SYzk8lh3wDdrIxH4ife+QOi0+vdQHMj92Rkj+wTq4W1Epw52zmemuSuREr+Oi0NY
riERaQklOF/tpOfhD/p/24is7Dk6ItOME+/uBKcXHcqVA4Iv7J8sLknNoxsRAEZx
ErQjpds4aY3Yo59Gb0wyuXQzBQKBgQC5Y7k2MlKJgA5WIPJJcqZQnLOgJVOvn2fB
S1rO9lVkYCYKexUd3pRJeDVKUJcVaYN8ENUZX4xm0F9L0OVHe8CAT9G7ceBfm5D3
1mJ39YB9C6ftKCp2wZ8FCNhV7OZarJa4J6ylMXK3nh2d4hGDjg37Vf1Kr6kbltom
lC6p23OCpwKBgDr5ekr0T/tAKj8MQIQUkSdxdR9xMCi8HzlIwSdxHSrk1J/hk1Bf
M47fXefIUrTG9TFfaHZ7zVcrnowbsCdIxZO05icgInC+S9dccFqtunohr70zADcA
WwOTs1j6e93x7kXg+OkVSQg4RBYrluJ6L6plmGBuM/obKJgd6qaLCAWdAoGAPHCM
k2S4j+dVxTKciuF741ATJ6TDsb/wXY4pnsukb0MBY+1YpxJHmeQ8y2uWtf5eRXZf
YxRJe8N3Lgp+lV19Ftfu8oNfuQvIqWQVWjKJnzrLln+/yFO7ejK2BN1lBC68PHGC
0aBbXA2KbkyjlRYc7NHN8ClwonP9zxIEXJAVCoUCgYEAu5yUv7m1oRW6gHd20IZb
3GOwXkZR9a6cLqg3ifM7ogJcXwso6mAg5SL6XX1yVCuXCJgSr/1P13Q1f2kpDPQr
9Cjmg1U0Auyb3GXcekoeVRlJVf7HzBN73r2kQlggfC+7En7xPvj0LIuvOUbFgMnz
Yf5arz54Jlex7s8PVMjhCCI=
-----END PRIVATE KEY-----
";
/// The public half of [`RSA_PRIVATE_PEM`].
pub(crate) const RSA_PUBLIC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAiGh3Z1yAYuhS/8d0wuC7
ltj0UCJdHOQb+KLs9kfFogcfj27gqUo0t9HGT5NQZ5vDktq3xVK9qe2m3sMXNOB9
ejyJ9lKBbOzeOUNCqgf6WQmt1Jw2z9IXJsNyK0ofs6hc9smRAyr9OYH311u9hE9D
wKsLp6FUflmfas5MlxDiCIaF1bp0Vti65sXaPL8CsLwchb6RXEXdHp//eO2inPqg
hEyAuFxB0e9/vIHXdRZFVKmNKw8CCDcaPL0sgEB8//IXeL7+PIdDONOxsiuhTvsz
zMHdg2oiqO51d8aeXtlpJyGAGjV6ZWGwkEwYO8QIRXrTH7GG2hKbuquigMJpLvTS
QwIDAQAB
-----END PUBLIC KEY-----
";
/// The modulus of [`RSA_PRIVATE_PEM`].
pub(crate) const RSA_N: &str = "iGh3Z1yAYuhS_8d0wuC7ltj0UCJdHOQb-KLs9kfFogcfj27gqUo0t9HGT5NQZ5vDktq3xVK9qe2m3sMXNOB9ejyJ9lKBbOzeOUNCqgf6WQmt1Jw2z9IXJsNyK0ofs6hc9smRAyr9OYH311u9hE9DwKsLp6FUflmfas5MlxDiCIaF1bp0Vti65sXaPL8CsLwchb6RXEXdHp__eO2inPqghEyAuFxB0e9_vIHXdRZFVKmNKw8CCDcaPL0sgEB8__IXeL7-PIdDONOxsiuhTvszzMHdg2oiqO51d8aeXtlpJyGAGjV6ZWGwkEwYO8QIRXrTH7GG2hKbuquigMJpLvTSQw";
/// The modulus of another RSA key, whose private half is lost.
pub(crate) const RSA_OTHER_N: &str = "yRR3big9BZFG0hAzizNGez81JZlxQofhEuLNAMTANPz2DwYSKu-TL92peRwdXoSExjX5rltAm4if4rsOuqcYtmDpK1I4hWaGyfsgK-lxH0-VLuNdNiOpvSVLWUP_O54FCQmU42FcLZiBkIMpnMLKvEbp6BxJ852V1K-NSqUQoqXpjQhTWu9bEeWgfATk2DaFJhqLgQzNcUp92kWBNV_0llUaq2NrxCYZWDwkCgH0XBS9pIjYKDUoQeIPO_Rkx7R4GECS8LqSm-OGisP-Og6k12Uf6EdizShXZ0gUSkD3lGD8Oe1AxIUUVGLncGK-i2tlBTb5xrPOKX9Hs3-cA0pS3w";
/// A modulus of 1024 bits: too short to be accepted.
pub(crate) const RSA_1024_N: &str = "xGpTVd3pN6J1s1pnjywFeYJ6zYIEGHQVBQ4KljnlHdzvgUrVrucEySbEuTRHrmbwOqrOC_ycftZ_s4C2FNbSsbrNq7hSAsSBemvgsy0c6pgfD-Ay6sli08Ol68BgD27Y8DD9EZEDd5lxMfM5NVyjD-SjE1Ky-Es1Cb_LZAfeC3E";

/// A key on P-256; a test key.
pub(crate) const EC_PRIVATE_PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYHpnA2mGZ1atD9r6
nOf50xj6lzu9CY+eU+8nKHX1JcOhRANCAATm+82dfDrfbwQL1GJzU1IyQHBuX/63
a+C6p3yfQon7QaQPtyzY/EhAZ5HEC3KOerykAD8RWirz5rVHElkI303c
-----END PRIVATE KEY-----
";
/// The coordinates of [`EC_PRIVATE_PEM`].
pub(crate) const EC_X: &str = "5vvNnXw6328EC9Ric1NSMkBwbl_-t2vguqd8n0KJ-0E";
/// The coordinates of [`EC_PRIVATE_PEM`].
pub(crate) const EC_Y: &str = "pA-3LNj8SEBnkcQLco56vKQAPxFaKvPmtUcSWQjfTdw";

/// A JWKS of these keys, as text.
pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// [`RSA_PRIVATE_PEM`]'s public half as JWK.
pub(crate) fn rsa_jwk(kid: &str) -> Value {
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": RSA_N, "e": "AQAB"})
}

/// [`EC_PRIVATE_PEM`]'s public half as JWK.
pub(crate) fn ec_jwk(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": EC_X, "y": EC_Y})
}

/// [`SECRET`] as JWK.
pub(crate) fn oct_jwk(kid: &str) -> Value {
    json!({"kty": "oct", "kid": kid, "k": base64url(SECRET.as_bytes())})
}

/// A token signed with the test key of this algorithm.
pub(crate) fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    let key = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::RS512 => {
            EncodingKey::from_rsa_pem(RSA_PRIVATE_PEM.as_bytes()).unwrap()
        }
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC_PRIVATE_PEM.as_bytes()).unwrap(),
        _ => EncodingKey::from_secret(SECRET.as_bytes()),
    };
    encode(&header, claims, &key).unwrap()
}

/// Three parts with any signature.
pub(crate) fn forge(header: &str, claims: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()), base64url(signature))
}

/// The text form of bytes in a JWT (RFC 4648, section 5, without padding).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |place| char::from(LETTERS[bits >> (18 - 6 * place) & 63])).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
