use serde_json::json;

use super::*;
use crate::kubectl::verb::Verb;

fn view(verb: &str) -> &'static View {
    let words: Vec<String> = verb.split(' ').map(str::to_owned).collect();
    View::of(&Verb::of(&words)).unwrap()
}

#[test]
fn tables_are_merged_with_the_node_as_first_column() {
    let row = |state: &str| {
        let row = [state, "ok", "ok", "because"].map(str::to_owned).to_vec();
        Ok(Rows { rows: vec![row], remarks: vec!["seen".to_owned()] })
    };
    let answers = BTreeMap::from([
        ("node-b".to_owned(), row("ok")),
        ("node-a\u{1b}[2J".to_owned(), row("PROBLEM")),
        ("node-c".to_owned(), Err("gone".to_owned())),
    ]);
    assert_eq!(
        as_table(view("condition"), &answers),
        " NODE             READY    ENFORCING  PSP-DEAD  WHY\n \
          node-a\\u{1b}[2J  PROBLEM  ok         ok        because\n \
          node-b           ok       ok         ok        because\n\n\
          node-a\\u{1b}[2J: seen\nnode-b: seen\n"
    );
    let silent: Answers<Rows> = BTreeMap::from([("a".to_owned(), Err("gone".to_owned()))]);
    assert_eq!(as_table(view("vms"), &silent), "");
    let empty = BTreeMap::from([("a".to_owned(), Ok(Rows::default()))]);
    assert_eq!(as_table(view("vms"), &empty), "Nothing to show of 1 node.\n");
}

#[test]
fn json_has_each_node_s_answer_and_each_that_has_none() {
    let answer = json::line(&json!({"vms": []})).unwrap();
    let answers = BTreeMap::from([
        ("a\"".to_owned(), Ok(answer)),
        ("b".to_owned(), Err("\u{1b}[2J gone".to_owned())),
    ]);
    let text = as_json(&answers).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    let read: Value = serde_json::from_str(&text).unwrap();
    let wanted = json!({
        "nodes": [{"node": "a\"", "answer": {"vms": []}}],
        "unanswered": [{"node": "b", "reason": "\u{1b}[2J gone"}],
    });
    assert_eq!(read, wanted);
    let none = as_json(&BTreeMap::new()).unwrap();
    assert_eq!(none, "{\"nodes\":[],\"unanswered\":[]}\n");
}
