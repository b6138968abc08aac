//! Every choice and every refusal.

use super::super::dereference::IngressClassFound;
use super::super::fixtures::{IMAGE, PASSWORD, cluster, references, try_validated, validated};
use super::*;
use crate::crd::Quantity;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn refusal(spec: &str, secrets: &[(&str, &str)]) -> String {
    let invalid = try_validated(spec, secrets).expect_err("refused");
    format!("{}: {}", invalid.reason, invalid.message)
}

fn reasons(cluster: &ValidatedCluster) -> Vec<&'static str> {
    cluster.notes.iter().map(|note| note.reason).collect()
}

#[test]
fn the_shortest_spec_has_every_choice_made() {
    let cluster = validated("auth: { open: {} }", &[]);
    let expected = ValidatedCluster {
        names: Names::of("demo"),
        namespace: "chat".into(),
        uid: "uid-1".into(),
        image: IMAGE.into(),
        image_pull_secrets: vec![],
        scale: Scale::Fixed(2),
        auth: Auth::Open,
        api_key: None,
        backplane: Backplane::Memory,
        ingress: None,
        allowed_origins: vec![],
        drain_seconds: 60,
        limits: None,
        history: None,
        resources: crate::crd::Resources::default(),
        network_policy: true,
        service_monitor: None,
        checksum: cluster.checksum.clone(),
        notes: vec![isolated(2)],
    };
    assert_eq!(cluster, expected);
}

#[test]
fn several_instances_without_a_shared_backplane_are_told() {
    assert_eq!(reasons(&validated("{ auth: { open: {} }, replicas: 1 }", &[])), [""; 0]);
    assert_eq!(reasons(&validated("{ auth: { open: {} }, replicas: 2 }", &[])), ["IsolatedReplicas"]);
    assert_eq!(reasons(&validated("{ auth: { open: {} }, replicas: 2, redis: { managed: {} } }", &[])), [""; 0]);
    assert_eq!(
        reasons(&validated("{ auth: { open: {} }, autoscaling: { minReplicas: 1, maxReplicas: 3 } }", &[])),
        ["IsolatedReplicas"]
    );
}

#[test]
fn a_secret_that_is_missing_is_waited_for() {
    let spec = "auth: { token: { secretRef: { name: t } } }";
    let missing = "SecretMissing: auth.token.secretRef: there is no Secret t in this namespace; it is waited for";
    assert_eq!(refusal(spec, &[]), missing);
    let other = "SecretMissing: auth.token.secretRef: Secret t has no key secret; add it, or name another key";
    assert_eq!(refusal(spec, &[("t/other", SECRET)]), other);
    let good = validated(spec, &[("t/secret", SECRET)]);
    let key = KeyOf { secret: "t".into(), key: "secret".into() };
    assert_eq!(good.auth, Auth::Token { by: TokenKey::Secret(key), audience: None, issuer: None });
}

#[test]
fn a_secret_that_the_service_would_not_take_is_refused_without_being_told() {
    for (spec, path, value, sentence) in [
        ("auth: { token: { secretRef: { name: t } } }", "t/secret", "tooshort", "at least 32 bytes"),
        ("auth: { token: { jwksRef: { name: t } } }", "t/jwks.json", "{}", "must be a JWKS document"),
        ("{ auth: { open: {} }, api: { secretRef: { name: t } } }", "t/key", "a b", "at least 16 letters"),
        (
            "{ auth: { open: {} }, redis: { external: { secretRef: { name: t } } } }",
            "t/url",
            "hunter2",
            "must be a URL",
        ),
        (
            "{ auth: { open: {} }, redis: { external: { secretRef: { name: t } } } }",
            "t/url",
            "redis-cluster://hunter2",
            "Redis Cluster, which is not supported",
        ),
    ] {
        let refusal = refusal(spec, &[(path, value)]);
        assert!(refusal.starts_with("SecretInvalid: ") && refusal.contains(sentence), "{refusal}");
        assert!(!refusal.contains(value) || value == "a b", "{refusal}");
    }
}

#[test]
fn an_external_server_has_a_prefix_of_its_own() {
    let spec = "{ auth: { open: {} }, redis: { external: { secretRef: { name: r } } } }";
    let cluster = validated(spec, &[("r/url", "rediss://u:p@redis.example.com:6379")]);
    assert_eq!(cluster.backplane.prefix(), Some("chat.demo"));
    let spec = "{ auth: { open: {} }, redis: { external: { secretRef: { name: r, key: u }, prefix: shared } } }";
    assert_eq!(validated(spec, &[("r/u", "valkey://host")]).backplane.prefix(), Some("shared"));
}

#[test]
fn a_managed_valkey_keeps_its_password() {
    let spec = "{ auth: { open: {} }, redis: { managed: { memory: 512Mi } } }";
    let managed = |secrets: &[(&str, &str)]| match validated(spec, secrets).backplane {
        Backplane::Managed(valkey) => (valkey.password, valkey.secret_is_missing, valkey.max_data_bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(managed(&[]), (PASSWORD.to_owned(), true, 384 << 20));
    assert_eq!(managed(&[("demo-valkey/password", "anotherpassword00")]).0, "anotherpassword00");
    let replaced = (PASSWORD.to_owned(), false, 384 << 20);
    assert_eq!(managed(&[("demo-valkey/password", "would:break/a@url")]), replaced, "in the Secret that is there");
    let small = "{ auth: { open: {} }, redis: { managed: { memory: 8Mi } } }";
    assert!(refusal(small, &[]).contains("at least 32Mi"));
}

#[test]
fn the_checksum_changes_with_what_is_read_once() {
    let spec = "{ auth: { token: { secretRef: { name: t } } }, redis: { managed: {} } }";
    let sum = |secrets: &[(&str, &str)]| validated(spec, secrets).checksum;
    let one = sum(&[("t/secret", SECRET)]);
    assert_eq!(one, sum(&[("t/secret", SECRET), ("t/unused", "x")]));
    assert_ne!(one, sum(&[("t/secret", &SECRET.replace('0', "9"))]));
    assert_eq!(one, sum(&[("t/secret", SECRET), ("demo-valkey/password", PASSWORD)]), "stored or fresh is the same");

    let jwks = "auth: { token: { jwksRef: { name: t } } }";
    let sum = |keys: &str| validated(jwks, &[("t/jwks.json", keys)]).checksum;
    assert_eq!(sum(r#"{"keys":[1]}"#), sum(r#"{"keys":[2]}"#), "the service reads it again by itself");
}

#[test]
fn the_profile_follows_the_class_unless_it_is_named() {
    let spec = |profile: &str| {
        format!("{{ auth: {{ open: {{}} }}, replicas: 1, exposure: {{ ingress: {{ host: a.b{profile} }} }} }}")
    };
    let with = |profile: &str, class: IngressClassFound| {
        let mut references = references(&[]);
        references.ingress_class = class;
        let cluster = validate(&cluster(&spec(profile)), &references, IMAGE).unwrap();
        let affinity = cluster.ingress.as_ref().map(|ingress| ingress.affinity).unwrap();
        (affinity, reasons(&cluster))
    };
    let class = |name: &str| IngressClassFound::Controller(name.to_owned());
    assert_eq!(with("", class("traefik.io/ingress-controller")), (Affinity::Cookie, vec![]));
    assert_eq!(with("", class("k8s.io/ingress-nginx")), (Affinity::HiddenCookie, vec![]));
    assert_eq!(with("", class("example.com/x")), (Affinity::None, vec!["AffinityNotConfigured"]));
    assert_eq!(with("", IngressClassFound::Forbidden), (Affinity::None, vec!["AffinityNotConfigured"]));
    assert_eq!(with(", profile: Traefik", IngressClassFound::Forbidden), (Affinity::Cookie, vec![]));
    assert_eq!(with(", profile: None", class("traefik.io/ingress-controller")), (Affinity::None, vec![]));
    assert_eq!(with("", IngressClassFound::Missing("x".into())), (Affinity::None, vec!["IngressClassMissing"]));
}

#[test]
fn only_a_class_that_is_named_can_be_missing() {
    let with = |more: &str, class: IngressClassFound| {
        let spec = format!("{{ auth: {{ open: {{}} }}, replicas: 1, exposure: {{ ingress: {{ host: a.b{more} }} }} }}");
        let mut references = references(&[]);
        references.ingress_class = class;
        let cluster = validate(&cluster(&spec), &references, IMAGE).unwrap();
        let about = |about: About| cluster.notes.iter().any(|note| note.about == about);
        assert!(!(about(About::Exposure) && about(About::ExposureBroken)));
        (about(About::ExposureBroken), cluster.ingress.as_ref().map(|ingress| ingress.affinity), reasons(&cluster))
    };
    let none = || IngressClassFound::Missing(String::new());
    let missing = (true, Some(Affinity::None), vec!["IngressClassMissing"]);
    assert_eq!(with(", className: x", IngressClassFound::Missing("x".into())), missing);
    // The controllers of some clusters, as of GKE, take Ingresses without a class.
    assert_eq!(with("", none()), (false, Some(Affinity::None), vec!["AffinityNotConfigured"]));
    assert_eq!(with(", profile: None", none()), (false, Some(Affinity::None), vec!["IngressClassNotSet"]));
    assert_eq!(with(", profile: Traefik", none()), (false, Some(Affinity::Cookie), vec!["IngressClassNotSet"]));
    // The annotation is a class, and keeps the API server from setting the default one.
    let annotated = ", annotations: { kubernetes.io/ingress.class: gce }";
    let default = || IngressClassFound::Controller("traefik.io/ingress-controller".to_owned());
    for class in [none(), default()] {
        assert_eq!(with(annotated, class.clone()), (false, Some(Affinity::None), vec!["AffinityNotConfigured"]));
        let named = format!("{annotated}, profile: IngressNginx");
        assert_eq!(with(&named, class), (false, Some(Affinity::HiddenCookie), vec![]));
    }
}

#[test]
fn the_users_annotations_win_and_snippets_are_dropped() {
    let spec = r#"{ auth: { open: {} }, replicas: 1, exposure: { ingress: { host: a.b, profile: IngressNginx, annotations: {
        nginx.ingress.kubernetes.io/proxy-read-timeout: "60",
        nginx.ingress.kubernetes.io/server-snippet: "evil",
        example.com/mine: "kept" } } } }"#;
    let cluster = validated(spec, &[]);
    let annotations = &cluster.ingress.as_ref().unwrap().annotations;
    assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"], "60");
    assert_eq!(annotations["example.com/mine"], "kept");
    assert!(!annotations.keys().any(|key| key.contains("snippet")));
    assert_eq!(reasons(&cluster), ["AnnotationsDropped"]);
}

#[test]
fn tls_makes_the_url_and_the_cookie_secure() {
    let spec = "{ auth: { open: {} }, replicas: 1, exposure: { ingress: { host: a.b, tls: { secretName: cert } } } }";
    let cluster = validated(spec, &[]);
    let ingress = cluster.ingress.as_ref().unwrap();
    assert_eq!(ingress.url(), "https://a.b");
    assert_eq!(ingress.service_annotations["traefik.ingress.kubernetes.io/service.sticky.cookie.secure"], "true");
    assert_eq!(reasons(&cluster), ["TlsSecretMissing"]);
    assert_eq!(reasons(&validated(spec, &[("cert/tls.crt", "x")])), [""; 0]);
}

#[test]
fn a_service_monitor_without_its_kind_is_a_note() {
    let spec = "{ auth: { open: {} }, replicas: 1, monitoring: { serviceMonitor: {} } }";
    let mut references = references(&[]);
    references.service_monitors_served = false;
    let cluster = validate(&cluster(spec), &references, IMAGE).unwrap();
    assert_eq!((reasons(&cluster), cluster.service_monitor), (vec!["ServiceMonitorMissing"], None));
    assert_eq!(validated(spec, &[]).service_monitor, Some(BTreeMap::new()));
}

#[test]
fn resources_of_the_spec_stand() {
    let cluster = validated("{ auth: { open: {} }, replicas: 1, resources: { limits: { memory: 1Gi, cpu: 2 } } }", &[]);
    assert_eq!(cluster.resources.limits.cpu, Some(Quantity::from("2")));
    assert_eq!(cluster.resources.requests.cpu, Quantity::from("100m"));
}
