//! What a real API server makes of the rules of the schema.

use parley_tests::cluster::Space;

fn chat(name: &str, spec: &str) -> String {
    format!(
        "{{ apiVersion: parley.dev/v1alpha1, kind: ChatCluster, metadata: {{ name: {name} }}, spec: {{ {spec} }} }}"
    )
}

#[tokio::test]
async fn a_bad_spec_is_refused_with_a_sentence() {
    let space = Space::of("refused").await;
    for (spec, sentence) in [
        ("replicas: 1", "spec.auth: Required value"),
        ("auth: {}", "choose one: open: {} believes every name"),
        ("auth: { open: {}, token: { secretRef: { name: t } } }", "choose one: open: {} believes every name"),
        ("auth: { token: {} }", "choose one: secretRef for tokens"),
        ("auth: { open: {} }, replicas: 3, autoscaling: { maxReplicas: 3 }", "give either replicas or autoscaling"),
        (
            "auth: { open: {} }, autoscaling: { minReplicas: 4, maxReplicas: 3 }",
            "minReplicas may not be larger than maxReplicas",
        ),
        ("auth: { open: {} }, redis: {}", "choose one: managed for a Valkey"),
        (
            "auth: { open: {} }, redis: { managed: {}, external: { secretRef: { name: r } } }",
            "choose one: managed for a Valkey",
        ),
        (
            "auth: { open: {} }, redis: { external: { secretRef: { name: r }, prefix: 'a{b}' } }",
            "a prefix has 1 to 64 letters",
        ),
        ("auth: { open: {} }, redis: { managed: { memory: many } }", "should match"),
        ("auth: { open: {} }, drain: { seconds: 3601 }", "less than or equal to 3600"),
        ("auth: { open: {} }, replicas: -1", "greater than or equal to 0"),
        ("auth: { open: {} }, exposure: { ingress: { host: 'https://a.b' } }", "host is a host name in small letters"),
        ("auth: { open: {} }, exposure: {}", "spec.exposure.ingress: Required value"),
        ("auth: { open: {} }, exposure: { ingress: { host: a.b, profile: Envoy } }", "supported values"),
        ("auth: { open: {} }, allowedOrigins: [a.example.com]", "an origin is a scheme and a host without a path"),
        ("auth: { open: {} }, allowedOrigins: ['*', 'https://a.example.com']", "give it alone"),
    ] {
        let refusal = space.refused(&chat("demo", spec)).await;
        assert!(refusal.contains(sentence), "{spec}\n{refusal}");
    }
    for name in ["this-name-is-longer-than-forty-characters", "1st", "dotted.name"] {
        let refusal = space.refused(&chat(name, "auth: { open: {} }")).await;
        assert!(refusal.contains("at most 40 small letters"), "{refusal}");
    }
}

#[tokio::test]
async fn storage_can_only_grow_and_a_null_counts_as_nothing() {
    let space = Space::of("growing").await;
    let with = |storage: &str| {
        chat("demo", &format!("auth: {{ open: {{}} }}, replicas: 0, redis: {{ managed: {{ {storage} }} }}"))
    };
    space.apply(&with("storage: { size: 64Mi }")).await;
    let smaller = space.refused(&with("storage: { size: 65M }")).await;
    assert!(smaller.contains("storage can only grow"), "{smaller}");
    let elsewhere = space.refused(&with("storage: { size: 64Mi, storageClassName: other }")).await;
    assert!(elsewhere.contains("storageClassName cannot be changed later"), "{elsewhere}");
    space.apply(&with("storage: { size: 128Mi }")).await;
    let patch = r#"{"spec":{"redis":{"managed":{"storage":null}}}}"#;
    let removed = space.try_kubectl(&["patch", "chat/demo", "--type=merge", "-p", patch], None).await.unwrap_err();
    assert!(removed.contains("neither added nor removed"), "{removed}");
    // `replicas: null` beside autoscaling is no second owner.
    let null = chat("other", "auth: { open: {} }, replicas: null, autoscaling: { maxReplicas: 3 }");
    space.try_kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&null)).await.unwrap();
}

#[tokio::test]
async fn scaling_a_chat_that_scales_itself_is_refused() {
    let space = Space::of("scaling").await;
    space.apply(&chat("demo", "auth: { open: {} }, autoscaling: { maxReplicas: 3 }")).await;
    let refusal = space.try_kubectl(&["scale", "chat/demo", "--replicas=3"], None).await.unwrap_err();
    assert!(refusal.contains("give either replicas or autoscaling"), "{refusal}");
}
