use super::*;

#[test]
fn policies_are_shown_as_a_table() {
    let policies: Policies = serde_json::from_str(
        r#"{"enforcement": {"backend": "gate", "mode": "enforce", "verified": false,
                            "reason": "no gate", "bypassed": 0},
            "config": {"files": ["/etc/c.toml", "/etc/conf.d/a.toml"], "read_at": "2026",
                       "failed": {"at": "2027", "error": "/etc/c.toml: line 1, column 8: no"},
                       "pending": ["listen"]},
            "default": {"mode": {"value": "audit", "origin": {"from": "default"}},
                        "allow": {"value": ["report"], "origin":
                            {"from": "config", "file": "c.toml", "line": 3}},
                        "limit": {"value": "off", "origin": {"from": "default"}}},
            "vms": [{"vm": "web", "name": "web", "uuid": "",
                     "mode": {"value": "enforce", "origin":
                         {"from": "override", "of": "vm", "uid": 0, "at": "2026"}},
                     "allow": {"value": [], "origin":
                         {"from": "config", "rule": 2, "file": "c.toml", "line": 9,
                          "match": "name = \"w*\""}},
                     "limit": {"value": "off", "origin": {"from": "default"}},
                     "decisions": {"audit": {"export": {"deny": 3}, "key": {"admit": 5}},
                                   "enforce": {"report": {"admit": 2, "busy": 1}}}}],
            "absent": {}, "rules": []}"#,
    )
    .unwrap();
    let text = text(&policies);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "Backend gate: NOT ENFORCED: no gate");
    assert_eq!(lines[1], "Configuration: /etc/c.toml, /etc/conf.d/a.toml, read 2026");
    let failed = "RELOAD FAILED at 2027; still using the above: /etc/c.toml: line 1, column 8";
    assert!(lines[2].starts_with(failed), "{text}");
    assert_eq!(lines[3], "Changed: listen: takes effect at the next start");
    let lines = &lines[3..];
    assert!(lines[3].contains("audit    report"), "{text}");
    assert!(lines[3].contains("mode: default; allow: c.toml:3"), "{text}");
    let decided = "audit: admit 5, deny 3 export; enforce: admit 2, busy 1";
    assert!(lines[4].contains(decided), "{text}");
    let from = "mode: override (uid 0, 2026); allow: c.toml:9 (name = \"w*\")";
    assert!(lines[4].contains(from), "{text}");
    // The JSON has all that the table shows.
    let json = serde_json::to_string(&policies).unwrap();
    assert_eq!(super::text(&serde_json::from_str(&json).unwrap()), text);
}
