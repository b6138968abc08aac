//! The document against the router. What the endpoints do is tested from outside, in the `tests` package.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    let routed: BTreeSet<String> = routes().into_iter().map(|(path, _)| path.to_owned()).collect();
    let documented: BTreeSet<String> = description().paths.paths.into_keys().collect();
    assert_eq!(routed, documented);
}

#[test]
fn every_operation_has_an_id_and_lists_the_problems_of_every_request() {
    for (path, item) in description().paths.paths {
        let operations = [item.get, item.post, item.put, item.delete];
        for operation in operations.into_iter().flatten() {
            assert!(operation.operation_id.is_some(), "{path}");
            for status in ["401", "404", "408", "503"] {
                assert!(operation.responses.responses.contains_key(status), "{path} does not list {status}");
            }
        }
    }
}

#[test]
fn the_document_is_indented_json_with_a_final_line_feed() {
    let text = document();
    assert!(text.starts_with("{\n  \"openapi\": \"3.1.0\",\n"));
    assert!(text.ends_with("}\n"));
}
