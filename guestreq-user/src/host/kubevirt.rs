//! # KubeVirt's names
//!
//! virt-launcher names its domains `NAMESPACE_NAME`. Neither part can have an underscore, but other
//! domains' names can, so another mark of KubeVirt is required.

use super::Identity;

/// Its sockets and disks are below /run/kubevirt…; the manufacturer is a setting.
const MARKS: [&str; 2] = ["/run/kubevirt", "manufacturer=KubeVirt"];
/// Kubernetes' limits: RFC 1123's labels and subdomains.
const MAX_NAMESPACE: usize = 63;
const MAX_NAME: usize = 253;

/// Whether an argument shows KubeVirt.
pub fn is_marked(argument: &str) -> bool {
    MARKS.iter().any(|mark| argument.contains(mark))
}

/// Splits the name of a KubeVirt VM into namespace and name, if it has both.
pub fn name(identity: &mut Identity) -> bool {
    let Some((namespace, name)) = identity.name.split_once('_') else { return false };
    let is_its = identity.named && is_namespace(namespace) && is_name(name);
    if is_its {
        (identity.namespace, identity.name) = (namespace.to_owned(), name.to_owned());
    }
    is_its
}

pub fn is_namespace(text: &str) -> bool {
    text.len() <= MAX_NAMESPACE && is_label(text)
}

pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let [first, .., last] = text.as_bytes() else {
        return text.bytes().all(plain) && !text.is_empty();
    };
    plain(*first) && plain(*last) && text.bytes().all(|byte| plain(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, argument: &str) -> (String, String) {
        let mut identity = Identity { name: name.to_owned(), named: true, ..Identity::default() };
        assert_eq!(
            is_marked(argument) && super::name(&mut identity),
            !identity.namespace.is_empty()
        );
        (identity.namespace, identity.name)
    }

    const ITS: &str = "socket,id=charserial0,path=/var/run/kubevirt-private/7a/virt-serial0";

    #[test]
    fn a_domain_s_name_is_namespace_and_name() {
        let of = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(names("default_web-1", ITS), of("default", "web-1"));
        assert_eq!(names("a_b.c", "type=1,manufacturer=KubeVirt,product=None"), of("a", "b.c"));
        assert_eq!(names("default_web-1", "-display"), of("", "default_web-1"), "libvirt's");
    }

    #[test]
    fn a_name_that_kubernetes_rejects_is_not_split() {
        for name in
            ["web", "_web", "prod_", "Prod_web", "prod_a_b", "-a_b", "a\n_b", "a_b\"", "a_.b"]
        {
            assert_eq!(names(name, ITS), (String::new(), name.to_owned()));
        }
        let long = format!("{}_web", "a".repeat(64));
        assert_eq!(names(&long, ITS).1, long);
    }
}
