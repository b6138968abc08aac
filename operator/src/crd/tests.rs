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
    assert_eq!((spec.replicas, spec.drain.seconds, spec.network_policy.enabled), (2, 60, true));
    assert_eq!(spec.resources.limits.memory, "512Mi".into());
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
fn the_scale_subresource_finds_a_number_in_every_spec() {
    let version = serde_json::to_value(&definition().spec.versions[0]).unwrap();
    let scale = &version["subresources"]["scale"];
    for (path, part) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let properties = &version["schema"]["openAPIV3Schema"]["properties"][part]["properties"];
        assert_eq!(scale[path], format!(".{part}.replicas"));
        assert!(properties["replicas"]["default"].is_i64(), "{part}");
    }
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
}

#[test]
fn every_amount_has_its_own_default() {
    let resources =
        |given: Value| cluster("demo", &json!({ "auth": { "open": {} }, "resources": given })).spec.resources;
    let given = resources(json!({ "requests": { "memory": "64Mi" } }));
    assert_eq!((given.requests.cpu, given.requests.memory), ("100m".into(), "64Mi".into()));
    let given = resources(json!({ "limits": { "cpu": 2 } }));
    assert_eq!((given.limits.cpu, given.limits.memory), (Some("2".into()), "512Mi".into()));
}

#[test]
fn requests_are_within_limits() {
    let spec = |resources: Value| json!({ "auth": { "open": {} }, "resources": resources });
    let sentence = "may not be more than limits.memory, which is 512Mi if left out";
    assert_refused(&spec(json!({ "requests": { "memory": "1Gi" } })), sentence);
    assert_refused(&spec(json!({ "limits": { "memory": "100M" } })), sentence);
    assert_refused(&spec(json!({ "limits": { "cpu": "50m" } })), "requests.cpu, which is 100m if left out");
    for good in [
        json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "1024Mi" } }),
        json!({ "requests": { "cpu": 1 }, "limits": { "cpu": "1000m" } }),
        json!({ "requests": { "memory": 1000 } }),
    ] {
        assert_eq!(refusal("demo", &spec(good)), None);
    }
}

#[test]
fn an_autoscaler_has_something_to_follow() {
    let scaled = |requests: Value| json!({ "auth": { "open": {} }, "autoscaling": { "maxReplicas": 3 }, "resources": { "requests": requests } });
    assert_refused(&scaled(json!({ "cpu": 0 })), "resources.requests.cpu must be more than 0");
    assert_eq!(refusal("demo", &scaled(json!({ "memory": "64Mi" }))), None);
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

/// Whatever the schema takes, the service must take, or every pod that starts would end at once.
#[test]
fn the_schema_takes_no_origin_that_the_service_refuses() {
    let by_both = [
        "*",
        "https://chat.example.com",
        "http://localhost:3000",
        "https://*.example.com",
        "https://*.example.com:8443",
        "HTTPS://Chat.Example.com",
        "https://chat.example.com.",
        "https://a_b.example",
        "https://10.0.0.1:65535",
        "https://*.com",
        "https://*.1a.com",
        "http://[::1]",
        "http://[2001:db8::1]:8080",
        "capacitor://localhost",
        "chrome-extension://abcdefgh",
    ];
    let by_none = [
        "https://*",
        "https://*.",
        "https://a*.b",
        "https://*.*.b",
        "https://user@host",
        "https://a.b?x",
        "https://a.b#x",
        "https://a.b/",
        "https://a.b:",
        "https://a.b:0",
        "https://a.b:080",
        "https://a.b:65536",
        "https://a.b:99999",
        "https://a.b:100000",
        "https://a.b:80:80",
        "https://*.0.0.1",
        "https://*.5",
        "https://.a",
        "https://a..b",
        "https://",
        "https://ümlaut.example",
        "https://[::1",
        "https://[a.b]",
        "https://[1:2]",
        "https://[::1]x",
        "https://[1.2.3.4]",
        "https://*.[::1]",
        "://a",
        "1a://b",
        "null",
        "chat.example.com",
        "https://a b",
        "https://a,https://*",
    ];
    let taken = |origin: &str| {
        let spec = json!({ "auth": { "open": {} }, "allowedOrigins": [origin] });
        (refusal("demo", &spec).is_none(), parley_service::origin::OriginPolicy::parse(origin).is_ok())
    };
    for origin in by_both {
        assert_eq!(taken(origin), (true, true), "{origin}");
    }
    for origin in by_none {
        assert_eq!(taken(origin), (false, false), "{origin}");
    }
}

#[test]
fn storage_is_decided_once_and_can_only_grow() {
    let with = |storage: Value| {
        let managed = if storage.is_null() { json!({}) } else { json!({ "storage": storage }) };
        cluster("demo", &json!({ "auth": { "open": {} }, "redis": { "managed": managed } }))
    };
    let refused = |new: Value, old: Value| with(new).validate_cel_update(&with(old)).err().map(|e| e.to_string());
    let of = |size: Value| json!({ "size": size });
    let classed = |class: &str| json!({ "size": "1Gi", "storageClassName": class });
    for (old, new) in [
        (of("1Gi".into()), of("1Gi".into())),
        (of("1Gi".into()), of("1025Mi".into())),
        (of("1Gi".into()), of("1024Mi".into())),
        (of(1_000.into()), of("1k".into())),
        (classed("fast"), json!({ "size": "2Gi", "storageClassName": "fast" })),
    ] {
        assert_eq!(refused(new.clone(), old.clone()), None, "{old} to {new}");
    }
    for (old, new, sentence) in [
        (Value::Null, of("1Gi".into()), "neither added nor removed"),
        (of("1Gi".into()), Value::Null, "neither added nor removed"),
        (of("1Gi".into()), of("1G".into()), "storage can only grow"),
        (of("1Gi".into()), of(1_000.into()), "storage can only grow"),
        (classed("fast"), classed("slow"), "storageClassName cannot be changed"),
        (classed("fast"), of("1Gi".into()), "storageClassName cannot be changed"),
        (of("1Gi".into()), classed("fast"), "storageClassName cannot be changed"),
    ] {
        let refusal = refused(new.clone(), old.clone()).unwrap_or_else(|| panic!("{old} to {new} is taken"));
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
