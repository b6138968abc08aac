//! The autoscaler. It grows fast and shrinks slowly: an instance that goes has sessions to hand over first, and a new one
//! takes no load from the others.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};

use super::super::validate::{Scale, ValidatedCluster};
use super::metadata;
use crate::names::Component;

pub(super) fn of(cluster: &ValidatedCluster) -> Option<HorizontalPodAutoscaler> {
    let Scale::Auto { min, max, cpu_percent, spare_seconds } = cluster.scale else { return None };
    Some(HorizontalPodAutoscaler {
        metadata: metadata(cluster, cluster.names.chat(), Component::Chat),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: cluster.names.chat(),
            },
            min_replicas: Some(min),
            max_replicas: max,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(cpu_percent),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                scale_up: Some(rules(0, "Max", &[("Percent", 100, 30), ("Pods", 4, 30)])),
                scale_down: Some(rules(spare_seconds, "Min", &[("Pods", 1, 120)])),
            }),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

/// How many instances a Deployment begins with before its autoscaler knows anything.
pub(super) fn initial_replicas(scale: Scale) -> Option<i32> {
    match scale {
        Scale::Auto { min, .. } => Some(min),
        Scale::Fixed(_) => None,
    }
}

fn rules(window: i32, select: &str, policies: &[(&str, i32, i32)]) -> HPAScalingRules {
    let policies = policies.iter().map(|(kind, value, period)| HPAScalingPolicy {
        type_: (*kind).to_owned(),
        value: *value,
        period_seconds: *period,
    });
    HPAScalingRules {
        stabilization_window_seconds: Some(window),
        select_policy: Some(select.to_owned()),
        policies: Some(policies.collect()),
        ..HPAScalingRules::default()
    }
}
