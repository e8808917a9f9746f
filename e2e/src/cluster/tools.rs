//! The outside programs of the control plane and the Go modules that pin them.
//!
//! A version stands in one place, the `go.mod` of its module under `e2e/controlplane`; everything here is read from there.

use std::fmt;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// The store behind the API server.
    Etcd,
    KubeApiServer,
    KubeControllerManager,
    /// The command line that people use.
    Kubectl,
    Helm,
}

impl Tool {
    pub const ALL: [Self; 5] =
        [Self::Etcd, Self::KubeApiServer, Self::KubeControllerManager, Self::Kubectl, Self::Helm];

    /// The name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    /// The version that is pinned, with its leading `v`.
    #[must_use]
    pub fn version(self) -> &'static str {
        self.module().version()
    }

    pub(super) fn module(self) -> &'static ToolModule {
        match self {
            Self::KubeApiServer | Self::KubeControllerManager | Self::Kubectl => &KUBE,
            Self::Etcd => &ETCD,
            Self::Helm => &HELM,
        }
    }

    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One Go module under `e2e/controlplane`: tools that share one selection of dependencies.
#[derive(Debug)]
pub(super) struct ToolModule {
    pub(super) folder: &'static str,
    pub(super) requires: &'static str,
    pub(super) manifest: &'static str,
    pub(super) sums: &'static str,
    /// What a cold build takes on 2 cores, for the person who waits.
    pub(super) cold_build: &'static str,
}

pub(super) static KUBE: ToolModule = ToolModule {
    folder: "kube",
    requires: "k8s.io/kubernetes",
    manifest: include_str!("../../controlplane/kube/go.mod"),
    sums: include_str!("../../controlplane/kube/go.sum"),
    cold_build: "8 to 11 min",
};
pub(super) static ETCD: ToolModule = ToolModule {
    folder: "etcd",
    requires: "go.etcd.io/etcd/server/v3",
    manifest: include_str!("../../controlplane/etcd/go.mod"),
    sums: include_str!("../../controlplane/etcd/go.sum"),
    cold_build: "1 min",
};
pub(super) static HELM: ToolModule = ToolModule {
    folder: "helm",
    requires: "helm.sh/helm/v4",
    manifest: include_str!("../../controlplane/helm/go.mod"),
    sums: include_str!("../../controlplane/helm/go.sum"),
    cold_build: "1 to 2 min",
};
pub(super) static MODULES: [&ToolModule; 3] = [&KUBE, &ETCD, &HELM];

impl ToolModule {
    /// The pinned version, such as `v1.37.0`; `v0.0.0` where the go.mod names none, which no build accepts.
    pub(super) fn version(&self) -> &'static str {
        self.manifest
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
            .find(|(module, rest)| *module == self.requires && rest.starts_with('v'))
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .unwrap_or("v0.0.0")
    }

    /// How many modules the go.mod names.
    pub(super) fn modules(&self) -> usize {
        self.manifest
            .lines()
            .filter(|line| line.trim().split(' ').nth(1).is_some_and(|word| word.starts_with('v')))
            .count()
    }

    /// Linker flags that write the version into the program. Without them Kubernetes calls itself
    /// `v0.0.0-master+$Format`, which a chart's `kubeVersion` and every version parser refuses.
    pub(super) fn linker_flags(&self) -> String {
        let version = self.version();
        let mut flags = String::from("-s -w");
        for (variable, value) in self.stamps(version) {
            flags.push_str(&format!(" -X {variable}={value}"));
        }
        flags
    }

    fn stamps(&self, version: &str) -> Vec<(String, String)> {
        match self.folder {
            "kube" => ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
                .into_iter()
                .flat_map(|package| kubernetes_stamps(package, version))
                .collect(),
            "etcd" => vec![("go.etcd.io/etcd/api/v3/version.GitSHA".into(), version.into())],
            _ => vec![
                ("helm.sh/helm/v4/internal/version.version".into(), version.into()),
                ("helm.sh/helm/v4/internal/version.gitTreeState".into(), "clean".into()),
            ],
        }
    }
}

fn kubernetes_stamps(package: &str, version: &str) -> Vec<(String, String)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")]
        .into_iter()
        .map(|(variable, value)| (format!("{package}.{variable}"), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_go_mod_files() {
        assert_eq!(Tool::KubeApiServer.version(), "v1.37.0");
        assert_eq!(Tool::Kubectl.version(), "v1.37.0");
        assert_eq!(Tool::Etcd.version(), "v3.7.1");
        assert_eq!(Tool::Helm.version(), "v4.2.4");
    }

    #[test]
    fn every_tool_is_declared_in_the_go_mod_of_its_module() {
        for tool in Tool::ALL {
            assert!(tool.module().manifest.contains(tool.package()), "{tool} is missing from its go.mod");
        }
    }

    #[test]
    fn kubernetes_is_stamped_with_its_version() {
        let flags = KUBE.linker_flags();
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.0"), "{flags}");
        assert!(flags.contains("-X k8s.io/component-base/version.gitMinor=37"), "{flags}");
    }
}
