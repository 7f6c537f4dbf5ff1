//! Uploads as clients make them, and a store that loses its objects.

use aws_lc_rs::digest::{SHA256, digest};

use crate::client::Rest;
use crate::server::Server;
use crate::{Value, json};

/// The SHA-256 of some bytes, as the contract writes it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn upload_body(group: &str, content_type: &str, bytes: &[u8]) -> Value {
    json!({
        "group_id": group, "content_type": content_type, "content_length": bytes.len(), "sha256": hex(bytes),
    })
}

/// Asks for the right to upload exactly these bytes; the answer.
pub async fn ask_upload(rest: &Rest, group: &str, content_type: &str, bytes: &[u8]) -> Value {
    let (status, upload) =
        rest.call("POST", "/media/uploads", Some(upload_body(group, content_type, bytes))).await;
    assert!(status == 200 || status == 201, "{upload}");
    upload
}

/// Uploads as told, but for one header; the length is that of the bytes.
pub async fn put_with(upload: &Value, bytes: &[u8], other: Option<(&str, &str)>) -> u16 {
    let upload = &upload["upload"];
    assert_eq!(upload["method"], "PUT");
    let mut request = reqwest::Client::new().put(upload["url"].as_str().unwrap()).body(bytes.to_vec());
    for (name, value) in upload["headers"].as_object().unwrap() {
        let value =
            other.filter(|(other, _)| other == name).map_or(value.as_str().unwrap(), |(_, value)| value);
        // The client counts the bytes itself.
        if !name.eq_ignore_ascii_case("content-length") {
            request = request.header(name, value);
        }
    }
    request.send().await.unwrap().status().as_u16()
}

/// Uploads as told; the status.
pub async fn put(upload: &Value, bytes: &[u8]) -> u16 {
    put_with(upload, bytes, None).await
}

/// Uploads some bytes; the answer to the wish.
pub async fn uploaded(rest: &Rest, group: &str, content_type: &str, bytes: &[u8]) -> Value {
    let upload = ask_upload(rest, group, content_type, bytes).await;
    assert_eq!(put(&upload, bytes).await, 200);
    upload
}

/// The data of a message that carries an upload as a picture.
#[must_use]
pub fn picture(group: &str, id: &str, upload: &Value) -> Value {
    json!({"group_id": group, "client_message_id": id, "type": "image", "media_url": upload["media_url"]})
}

/// Removes every object from the store.
pub fn lose_objects(server: &Server) -> usize {
    let (mut dirs, mut lost) = (vec![server.objects()], 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.extend((!path.ends_with("snapshots")).then_some(path));
            } else if path.extension().is_none_or(|ext| ext != "json" && ext != "lock") {
                std::fs::remove_file(path).unwrap();
                lost += 1;
            }
        }
    }
    lost
}
