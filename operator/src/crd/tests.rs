//! Every rule of the schema, evaluated here; the cluster target asks a real API server.

use serde_json::{Value, json};

use super::*;

fn cluster(name: &str, spec: &Value) -> ChatCluster {
    serde_json::from_value(json!({
        "apiVersion": "parley.dev/v1alpha1", "kind": "ChatCluster", "metadata": { "name": name }, "spec": spec,
    }))
    .expect("a ChatCluster")
}

/// The sentence that refuses it, or nothing.
fn refusal(name: &str, spec: &Value) -> Option<String> {
    cluster(name, spec).validate_cel().err().map(|errors| errors.to_string())
}

#[track_caller]
fn assert_refused(spec: &Value, sentence: &str) {
    let refusal = refusal("demo", spec).unwrap_or_else(|| panic!("{spec} is taken"));
    assert!(refusal.contains(sentence), "{refusal}");
}

#[test]
fn the_shortest_spec_is_good_and_complete() {
    let spec = json!({ "auth": { "open": {} } });
    assert_eq!(refusal("demo", &spec), None);
    let spec = cluster("demo", &spec).spec;
    assert_eq!((spec.replicas, spec.drain.seconds, spec.network_policy.enabled), (None, 60, true));
    assert_eq!(spec.resources.limits.memory, Some("512Mi".into()));
}

#[test]
fn a_name_that_no_child_can_carry_is_refused() {
    let spec = json!({ "auth": { "open": {} } });
    assert_eq!(refusal(&"n".repeat(40), &spec), None);
    for name in ["n".repeat(41), "1st".to_owned(), "a.b".to_owned(), "a-".to_owned()] {
        let refusal = refusal(&name, &spec).expect(&name);
        assert!(refusal.contains("at most 40 small letters"), "{refusal}");
    }
}

#[test]
fn sign_in_must_be_chosen_once() {
    assert_refused(&json!({ "auth": {} }), "choose one: open");
    let both = json!({ "open": {}, "token": { "secretRef": { "name": "t" } } });
    assert_refused(&json!({ "auth": both }), "choose one: open");
    assert_refused(&json!({ "auth": { "token": {} } }), "choose one: secretRef");
    let both = json!({ "secretRef": { "name": "t" }, "jwksRef": { "name": "t" } });
    assert_refused(&json!({ "auth": { "token": both } }), "choose one: secretRef");
}

#[test]
fn the_number_of_instances_has_one_owner() {
    let scaling = json!({ "maxReplicas": 5 });
    let both = json!({ "auth": { "open": {} }, "replicas": 3, "autoscaling": scaling });
    assert_refused(&both, "give either replicas or autoscaling");
    assert_eq!(refusal("demo", &json!({ "auth": { "open": {} }, "autoscaling": scaling })), None);
    let swapped = json!({ "auth": { "open": {} }, "autoscaling": { "minReplicas": 6, "maxReplicas": 5 } });
    assert_refused(&swapped, "minReplicas may not be larger");
}

#[test]
fn redis_is_managed_or_external() {
    let redis = |redis: Value| json!({ "auth": { "open": {} }, "redis": redis });
    assert_refused(&redis(json!({})), "choose one: managed");
    let external = json!({ "secretRef": { "name": "r" } });
    assert_refused(&redis(json!({ "managed": {}, "external": external })), "choose one: managed");
    let odd = json!({ "external": { "secretRef": { "name": "r" }, "prefix": "a{b}" } });
    assert_refused(&redis(odd), "a prefix has");
    assert_eq!(refusal("demo", &redis(json!({ "managed": {} }))), None);
}

#[test]
fn a_host_is_a_host_name() {
    for host in ["https://chat.example.com", "chat.example.com:80", "*.example.com", "Chat.example.com", "-a.b"] {
        let spec = json!({ "auth": { "open": {} }, "exposure": { "ingress": { "host": host } } });
        assert_refused(&spec, "host is a host name");
    }
    let spec = json!({ "auth": { "open": {} }, "exposure": { "ingress": { "host": "chat.example.com" } } });
    assert_eq!(refusal("demo", &spec), None);
}

#[test]
fn an_origin_has_a_scheme_and_no_path() {
    let origins = |origins: Value| json!({ "auth": { "open": {} }, "allowedOrigins": origins });
    for origin in ["chat.example.com", "https://a.example.com/path", "https://a,https://b"] {
        assert_refused(&origins(json!([origin])), "an origin is a scheme and a host");
    }
    assert_refused(&origins(json!(["*", "https://a.example.com"])), "give it alone");
    assert_eq!(refusal("demo", &origins(json!(["*"]))), None);
    assert_eq!(refusal("demo", &origins(json!(["https://*.example.com", "http://localhost:3000"]))), None);
}

#[test]
fn storage_is_decided_once() {
    let with = |storage: Value| {
        let managed = if storage.is_null() { json!({}) } else { json!({ "storage": storage }) };
        cluster("demo", &json!({ "auth": { "open": {} }, "redis": { "managed": managed } }))
    };
    let (none, small, large) = (with(Value::Null), with(json!({ "size": "1Gi" })), with(json!({ "size": "2Gi" })));
    let refused = |new: &ChatCluster, old: &ChatCluster| new.validate_cel_update(old).err().map(|e| e.to_string());
    assert_eq!(refused(&small, &small), None);
    for (new, old, sentence) in [
        (&small, &none, "neither added nor removed"),
        (&none, &small, "neither added nor removed"),
        (&large, &small, "storage cannot be changed"),
    ] {
        let refusal = refused(new, old).expect(sentence);
        assert!(refusal.contains(sentence), "{refusal}");
    }
}

#[test]
fn no_field_counts_a_null_as_given() {
    assert!(!serde_json::to_string(&definition()).unwrap().contains("nullable"));
}

#[test]
fn the_definition_fits_into_an_annotation() {
    // What `kubectl apply` without `--server-side` writes into an annotation may have 256 KiB.
    assert!(serde_json::to_string(&definition()).unwrap().len() < 64 * 1024);
}

#[test]
fn every_field_is_described() {
    fn undescribed(path: &str, schema: &Value, into: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(str::is_empty) {
                into.push(path.clone());
            }
            undescribed(&path, field, into);
            undescribed(&path, &field["items"], into);
        }
    }
    let schema = serde_json::to_value(&definition().spec.versions[0].schema).unwrap();
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        undescribed(part, &schema["openAPIV3Schema"]["properties"][part], &mut found);
    }
    assert_eq!(found, [""; 0]);
}
