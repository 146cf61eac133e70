//! # KubeVirt's names
//!
//! virt-launcher tells libvirt `NAMESPACE_NAME`. Neither of them can hold an underscore, but
//! other people's names can: KubeVirt's other marks are asked for, too.

use super::Identity;

/// Its sockets and disks are below /run/kubevirt…; the name of its make is a setting.
const MARKS: [&str; 2] = ["/run/kubevirt", "manufacturer=KubeVirt"];
/// What Kubernetes takes: RFC 1123's labels and subdomains.
const MAX_NAMESPACE: usize = 63;
const MAX_NAME: usize = 253;

/// Takes a VM's name apart where KubeVirt made it.
pub fn name(identity: &mut Identity, arguments: &[String]) {
    let marked = || MARKS.iter().any(|mark| arguments.iter().any(|one| one.contains(mark)));
    if identity.vmm != "qemu" || !identity.named || !marked() {
        return;
    }
    let Some((namespace, name)) = identity.name.split_once('_') else { return };
    if is_namespace(namespace) && is_name(name) {
        identity.namespace = namespace.to_owned();
        identity.name = name.to_owned();
    }
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
        let mut identity = Identity {
            name: name.to_owned(),
            named: true,
            vmm: "qemu".to_owned(),
            ..Identity::default()
        };
        super::name(&mut identity, &[argument.to_owned()]);
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
    fn a_name_that_kubernetes_would_not_take_stays_whole() {
        for name in
            ["web", "_web", "prod_", "Prod_web", "prod_a_b", "-a_b", "a\n_b", "a_b\"", "a_.b"]
        {
            assert_eq!(names(name, ITS), (String::new(), name.to_owned()));
        }
        let long = format!("{}_web", "a".repeat(64));
        assert_eq!(names(&long, ITS).1, long);
    }
}
