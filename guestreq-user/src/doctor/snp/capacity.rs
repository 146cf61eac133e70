//! # How many more guests can start

use crate::{
    doctor::{Finding, Host},
    kernel::snp::Asids,
};

const MORE: &str = "stop VMs or move them to another host; for more ASIDs, raise the \"SEV-ES ASID \
                    space limit\" in the firmware's setup";
/// With ciphertext hiding.
const MORE_OF_ES: &str = ", and kvm_amd's ciphertext_hiding_asids";

pub fn capacity(host: &Host<'_>) -> Finding {
    if host.sev_snp().is_err() {
        return Finding::skip("KVM cannot run SNP guests");
    }
    let asids = match Asids::read(&host.system) {
        Ok(asids) => asids,
        Err(why) => return Finding::skip(format!("unknown: {why}")),
    };
    let mut text = format!("{} of {} ASIDs in use", asids.used, asids.total);
    if asids.es_apart {
        text.push_str(" at most, as SEV-ES guests count too");
    }
    if !asids.are_scarce() {
        return Finding::pass(text);
    }
    let more = if asids.es_apart { MORE_OF_ES } else { "" };
    Finding::warn(format!("{text}: soon no SNP guest can start"), format!("{MORE}{more}"))
}
