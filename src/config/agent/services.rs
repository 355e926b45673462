//! Section `[services]`: how the services of this host are named.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::config::settings::{Kind, scalars, settings};
use crate::net::url::Url;
use crate::service::rules::Rule;

scalars! {
    Rule: Kind::Text,
}

settings! {
    /// How the services of this host are named.
    ServicesSettings in "services" {
        /// Names by an environment variable or by the cgroup, before all other names: `env:VARIABLE=NAME` or `cgroup:PATTERN=NAME`
        /// [default: none]
        ///
        /// The first that applies names the service. The value of the variable is `{1}` in the name; what each `*` of the pattern
        /// stands for is `{1}`, `{2}` and so on. A pattern names folders of the path, from its root where it begins with `/`. Variables
        /// of other users' processes can be read with CAP_SYS_PTRACE only. `rpingmesh-agent flows --explain` shows what applies.
        rules: Vec<Rule>, value("RULE"), example(vec!["env:JOB_NAME=batch/{1}", "cgroup:/batch.slice/job-*.scope=batch/{1}"]);
        /// The list of this node's pods, of the kubelet or the API server: pods go by namespace and owner instead of their UID
        /// [default: none]
        ///
        /// Of the API server: `https://kubernetes.default.svc/api/v1/pods?fieldSelector=spec.nodeName=NODE`. Plaintext is
        /// accepted on loopback only.
        kubernetes: Option<String>, value("URL"), example("https://node1.example:10250/pods");
        /// File with the token for it, read before each request [default: none]
        kubernetes_token: Option<PathBuf>, value("FILE"), example("/var/run/secrets/kubernetes.io/serviceaccount/token");
        /// File with the CA certificates that its certificate is verified by [default: none]
        kubernetes_ca: Option<PathBuf>, value("FILE"), example("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
    }
}

impl ServicesSettings {
    /// The variables of processes' environments that the rules ask for.
    pub fn variables(&self) -> Vec<String> {
        let asked = self.rules.iter().filter_map(Rule::variable);
        asked.map(ToOwned::to_owned).collect()
    }
}

/// Where Kubernetes lists the pods of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The list.
    pub url: Url,
    /// File with a bearer token.
    pub token: Option<PathBuf>,
    /// File with CA certificates; `None` for plaintext.
    pub ca: Option<PathBuf>,
}

/// Where pods get their names, if that is wanted.
pub(super) fn kubernetes(settings: &ServicesSettings) -> Result<Option<Kubernetes>, ConfigError> {
    let fail = |why: &str| Err(ConfigError::value("services.kubernetes", why.to_owned()));
    let ServicesSettings {
        kubernetes,
        kubernetes_token,
        kubernetes_ca,
        ..
    } = settings;
    let Some(text) = kubernetes else {
        if kubernetes_token.is_some() || kubernetes_ca.is_some() {
            return fail(
                "is missing: a token or a CA is of no use without the URL of the list of pods",
            );
        }
        return Ok(None);
    };
    let url = Url::parse(text)
        .map_err(|error| ConfigError::value("services.kubernetes", error.to_string()))?;
    if url.is_tls() && kubernetes_ca.is_none() {
        return fail("https:// needs services.kubernetes_ca");
    }
    if !url.is_tls() && !url.is_loopback() {
        return fail("plaintext goes to loopback only: use https:// with services.kubernetes_ca");
    }
    Ok(Some(Kubernetes {
        url,
        token: kubernetes_token.clone(),
        // Without TLS nothing is verified.
        ca: kubernetes_ca
            .clone()
            .filter(|_| text.starts_with("https://")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(
        url: Option<&str>,
        token: Option<&str>,
        ca: Option<&str>,
    ) -> Result<Option<Kubernetes>, String> {
        let settings = ServicesSettings {
            kubernetes: url.map(ToOwned::to_owned),
            kubernetes_token: token.map(Into::into),
            kubernetes_ca: ca.map(Into::into),
            ..ServicesSettings::default()
        };
        kubernetes(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_goes_over_tls_or_loopback_only() {
        assert_eq!(given(None, None, None), Ok(None));
        let local = given(Some("http://127.0.0.1:10255/pods"), None, None)
            .expect("accepted")
            .expect("there");
        assert_eq!((local.ca, local.token), (None, None));
        let remote = given(Some("https://node1:10250/pods"), Some("t"), Some("c"))
            .expect("accepted")
            .expect("there");
        assert_eq!(
            (remote.ca, remote.token),
            (Some("c".into()), Some("t".into()))
        );
        for (url, token, ca, why) in [
            (
                Some("http://node1:10255/pods"),
                Some("t"),
                None,
                "loopback only",
            ),
            (
                Some("https://node1:10250/pods"),
                Some("t"),
                None,
                "needs services.kubernetes_ca",
            ),
            (Some("node1:10250"), None, None, "must begin with https://"),
            (None, Some("t"), None, "is missing"),
            (None, None, Some("c"), "is missing"),
        ] {
            let error = given(url, token, ca).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
