//! # Where the documentation can be read
//!
//! The sources name a page by its path in the repository, such as `docs/policy.md#limits`. A host has
//! the packages' copies in [`INSTALLED`], which are of this version; for others, such as users of the
//! image alone, whoever builds guestreq may set an address in `GUESTREQ_DOCS_URL`.

use std::path::Path;

/// Where packages and the image have README.md, and what is in docs/.
const INSTALLED: &str = "/usr/share/doc/guestreq";

/// An address that shows the repository's files at this version, such as
/// `https://forge.example/guestreq/blob/v0.1.0`.
const ADDRESS: Option<&str> = option_env!("GUESTREQ_DOCS_URL");

/// Where to read a page of the repository: its installed copy, its address, or, with neither, its path
/// in the repository.
pub fn readable(page: &str) -> String {
    find(page, Path::new(INSTALLED), ADDRESS)
}

fn find(page: &str, installed: &Path, address: Option<&str>) -> String {
    let copy = page.strip_prefix("docs/").unwrap_or(page);
    let file = copy.split_once('#').map_or(copy, |(file, _)| file);
    if installed.join(file).is_file() {
        return format!("{}/{copy}", installed.display());
    }
    match address.map(|address| address.trim_end_matches('/')) {
        Some(address) if !address.is_empty() => format!("{address}/{page}"),
        _ => page.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_installed_copy_comes_first_then_the_address() {
        let installed = std::env::temp_dir().join(format!("guestreq-pages-{}", std::process::id()));
        fs::create_dir_all(&installed).unwrap();
        fs::write(installed.join("policy.md"), "").unwrap();
        let address = Some("https://forge.example/v1/");
        let copy = format!("{}/policy.md#limits", installed.display());
        assert_eq!(find("docs/policy.md#limits", &installed, address), copy);
        let online = "https://forge.example/v1/docs/order.md#weights";
        assert_eq!(find("docs/order.md#weights", &installed, address), online);
        let online = "https://forge.example/v1/README.md#prerequisites";
        assert_eq!(find("README.md#prerequisites", &installed, address), online);
        fs::remove_dir_all(&installed).unwrap();
    }

    #[test]
    fn without_either_the_path_in_the_repository_remains() {
        let nowhere = Path::new("/nonexistent");
        for address in [None, Some("")] {
            assert_eq!(find("docs/order.md#weights", nowhere, address), "docs/order.md#weights");
        }
    }
}
