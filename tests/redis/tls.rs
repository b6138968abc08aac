//! TLS with certificates of one's own: the server is believed if they lead to it, and only then.

use std::path::PathBuf;

use parley_service::backplane::Backplane as _;
use parley_service::backplane::redis::Trouble;
use parley_service::config::{RedisConfig, Secret};
use parley_tests::eventually::eventually;
use parley_tests::redis::Redis;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;

use crate::rig::{DEADLINE, connect, draft, keeping, ready, room};

/// An authority, its certificate in a file.
fn authority(redis: &Redis, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = redis.folder().join(name);
    std::fs::write(&path, issuer.pem()).unwrap();
    (issuer, path)
}

#[tokio::test]
async fn a_server_is_believed_only_if_the_certificates_lead_to_it() {
    let redis = Redis::start().await;
    let (issuer, ours) = authority(&redis, "ours.pem");
    let (_, foreign) = authority(&redis, "foreign.pem");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let in_folder = |name: &str| redis.folder().join(name).to_str().unwrap().to_owned();
    std::fs::write(in_folder("server.pem"), certificate.pem()).unwrap();
    std::fs::write(in_folder("server.key"), key.serialize_pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let settings = [
        ("tls-cert-file", in_folder("server.pem")),
        ("tls-key-file", in_folder("server.key")),
        ("tls-ca-cert-file", ours.to_str().unwrap().to_owned()),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-port", port.clone()),
    ];
    let settings = settings.iter().flat_map(|(name, value)| [*name, value.as_str()]);
    redis.ask(&["CONFIG", "SET"].into_iter().chain(settings).collect::<Vec<_>>()).await;

    let config = |ca_file| RedisConfig {
        url: Secret::new(format!("rediss://localhost:{port}")),
        ca_file: Some(ca_file),
        prefix: "parley".to_owned(),
    };
    let (believing, _arrivals) = connect(&config(ours), keeping());
    ready(&believing, true).await;
    believing.publish(&room("r"), &draft("x")).await.unwrap();

    let (doubting, _arrivals) = connect(&config(foreign), keeping());
    eventually(DEADLINE, || doubting.troubles(Trouble::Unreachable), |count| *count > 0).await;
    assert!(doubting.publish(&room("r"), &draft("x")).await.is_err());
    assert!(!doubting.health().is_ready());
}
