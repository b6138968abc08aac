//! A file of `manifests/compose`, as far as these tests need it: the environment of a service, and nginx's configuration.
//! It understands the form that these files have, no more of YAML.

use std::path::{Path, PathBuf};

/// A manifest.
pub struct Manifest {
    folder: PathBuf,
    text: String,
}

impl Manifest {
    pub fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a folder");
        let folder = root.join("manifests/compose");
        let text = std::fs::read_to_string(folder.join(name)).expect("the manifest is there");
        Self { folder, text }
    }

    /// The lines of a service.
    fn service(&self, name: &str) -> Vec<&str> {
        let head = format!("  {name}:");
        let lines = self.text.lines().skip_while(|line| *line != head).skip(1);
        let lines: Vec<&str> = lines.take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
        assert!(!lines.is_empty(), "there is no service {name}");
        lines
    }

    /// The variables of a service.
    pub fn environment(&self, name: &str) -> Vec<(String, String)> {
        let lines = self.service(name).into_iter().skip_while(|line| line.trim() != "environment:").skip(1);
        let pairs = lines.take_while(|line| line.starts_with("      ")).map(|line| {
            let (name, value) = line.trim().split_once(": ").expect("a name and a value");
            (name.to_owned(), value.trim_matches('"').to_owned())
        });
        let pairs: Vec<_> = pairs.collect();
        assert!(pairs.iter().any(|pair| *pair == ("PARLEY_SERVER_ID".to_owned(), name.to_owned())), "{pairs:?}");
        pairs
    }

    /// The configuration that the manifest mounts into nginx.
    pub fn nginx_configuration(&self) -> String {
        let service = self.service("nginx").join("\n");
        let file = service.split("\"./").nth(1).and_then(|rest| rest.split(':').next()).expect("a file is mounted");
        std::fs::read_to_string(self.folder.join(file)).expect("the configuration is there")
    }
}
