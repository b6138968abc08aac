//! What ingress controllers need for session affinity and long connections, as one table. A new controller is a row here
//! and a line in the tests. The service is right without any of it: affinity only saves a resume from another instance.

use crate::crd::Profile;

/// The cookie by which a controller finds a client's instance again.
pub const COOKIE: &str = "parley-affinity";

/// One ingress controller.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// How `spec.exposure.ingress.profile` names it.
    pub profile: Profile,
    /// `spec.controller` of its IngressClasses.
    pub controller: &'static str,
    /// Annotations of the Ingress.
    pub ingress: &'static [(&'static str, &'static str)],
    /// Annotations of the Service behind it.
    pub service: &'static [(&'static str, &'static str)],
    /// Added to both where the host is served by TLS: a cookie that never travels in the clear.
    pub service_if_tls: &'static [(&'static str, &'static str)],
    /// Whether scripts can read the cookie, and so drop it when an instance tells them to go elsewhere.
    pub cookie_is_readable: bool,
}

/// Every controller that is known.
pub static TABLE: &[Row] = &[
    Row {
        profile: Profile::Traefik,
        controller: "traefik.io/ingress-controller",
        ingress: &[],
        service: &[
            ("traefik.ingress.kubernetes.io/service.sticky.cookie", "true"),
            ("traefik.ingress.kubernetes.io/service.sticky.cookie.name", COOKIE),
            ("traefik.ingress.kubernetes.io/service.sticky.cookie.httponly", "false"),
            ("traefik.ingress.kubernetes.io/service.sticky.cookie.samesite", "lax"),
            ("traefik.ingress.kubernetes.io/service.sticky.cookie.path", "/"),
        ],
        service_if_tls: &[("traefik.ingress.kubernetes.io/service.sticky.cookie.secure", "true")],
        cookie_is_readable: true,
    },
    Row {
        profile: Profile::IngressNginx,
        controller: "k8s.io/ingress-nginx",
        ingress: &[
            ("nginx.ingress.kubernetes.io/affinity", "cookie"),
            ("nginx.ingress.kubernetes.io/session-cookie-name", COOKIE),
            ("nginx.ingress.kubernetes.io/session-cookie-path", "/"),
            ("nginx.ingress.kubernetes.io/session-cookie-samesite", "Lax"),
            // A client that a draining instance turned away finds another one.
            ("nginx.ingress.kubernetes.io/session-cookie-change-on-failure", "true"),
            // The defaults of one minute would end every socket that is quiet for longer than its pings.
            ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
            ("nginx.ingress.kubernetes.io/proxy-send-timeout", "3600"),
        ],
        service: &[],
        service_if_tls: &[],
        // It always sets HttpOnly.
        cookie_is_readable: false,
    },
];

/// The row of a controller, by `spec.controller` of its IngressClass.
#[must_use]
pub fn of_controller(controller: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.controller == controller)
}

/// The row that a spec names. `Auto` and `None` name none.
#[must_use]
pub fn of_name(profile: Profile) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.profile == profile)
}

/// Whether an annotation would let the author of a ChatCluster configure the ingress controller itself.
#[must_use]
pub fn is_snippet(key: &str, value: &str) -> bool {
    key.contains("snippet") || value.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_is_found_by_name_and_by_class() {
        for (controller, profile) in
            [("traefik.io/ingress-controller", Profile::Traefik), ("k8s.io/ingress-nginx", Profile::IngressNginx)]
        {
            assert_eq!(of_controller(controller).map(|row| row.profile), Some(profile));
            assert_eq!(of_name(profile).map(|row| row.controller), Some(controller));
        }
        assert_eq!(of_controller("example.com/else"), None);
        assert_eq!((of_name(Profile::Auto), of_name(Profile::None)), (None, None));
    }

    #[test]
    fn snippets_are_known_by_name_and_by_shape() {
        assert!(is_snippet("nginx.ingress.kubernetes.io/configuration-snippet", "x"));
        assert!(is_snippet("nginx.org/location-snippets", "x"));
        assert!(is_snippet("example.com/innocent", "a\nb"));
        assert!(!is_snippet("nginx.ingress.kubernetes.io/limit-rps", "10"));
    }
}
