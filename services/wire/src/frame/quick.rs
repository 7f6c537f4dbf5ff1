//! The frames of which there is one a message, or one a message and member: written member by member, since a serializer that
//! looks at each name and each id for what it must escape took 4 % of a server's time. Each is what [`Serialize`] makes of its
//! body, byte by byte; a test holds that.

use serde::Serialize;
use uuid::Uuid;

use super::outgoing::{Accepted, Acknowledged, MediaBody, MessageBody, MessageStatus, PositionBody};

/// A body that writes itself.
pub trait Quick: Serialize {
    /// Its members, in their order.
    fn members(&self, to: &mut Members<'_>);
}

/// The name of a member, as it stands before its value. Names of fields need no escapes.
macro_rules! key {
    ($name:literal) => {
        Key(concat!(",\"", $name, "\":"))
    };
}

/// What [`key`] makes.
struct Key(&'static str);

/// The members of a JSON object that is being written.
pub struct Members<'a>(&'a mut Vec<u8>);

impl Members<'_> {
    /// Each member brings a comma; the first one's becomes the brace.
    fn write(bytes: &mut Vec<u8>, members: impl FnOnce(&mut Members<'_>)) {
        let start = bytes.len();
        members(&mut Members(bytes));
        match bytes.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => bytes.push(b'{'),
        }
        bytes.push(b'}');
    }

    fn key(&mut self, Key(key): Key) {
        self.0.extend_from_slice(key.as_bytes());
    }

    fn quoted(&mut self, plain: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(plain.as_bytes());
        self.0.push(b'"');
    }

    /// A text that needs no escapes: a name from a list, a time.
    fn plain(&mut self, key: Key, plain: &str) {
        self.key(key);
        self.quoted(plain);
    }

    /// Any text.
    fn text(&mut self, key: Key, text: &str) {
        self.key(key);
        // Without a way out of the loop, so that it goes by many bytes at once.
        let is_plain =
            text.bytes().fold(true, |plain, byte| plain & (byte >= b' ' && byte != b'"' && byte != b'\\'));
        if is_plain {
            self.quoted(text);
        } else {
            serialize(self.0, text);
        }
    }

    fn id(&mut self, key: Key, id: Uuid) {
        self.plain(key, id.hyphenated().encode_lower(&mut [0; 36]));
    }

    fn number(&mut self, key: Key, number: u64) {
        self.key(key);
        serialize(self.0, &number);
    }

    fn flag(&mut self, key: Key, flag: bool) {
        self.key(key);
        self.0.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn object(&mut self, key: Key, object: &impl Quick) {
        self.key(key);
        Self::write(self.0, |members| object.members(members));
    }
}

fn serialize<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    // Writing to memory can't fail, and neither can texts and numbers.
    drop(serde_json::to_writer(bytes, value));
}

/// Writes the JSON text of a frame behind what is in `bytes`.
pub fn encode_quickly_behind<T: Quick>(bytes: &mut Vec<u8>, event: &str, id: Option<&str>, data: &T) {
    Members::write(bytes, |frame| {
        frame.plain(key!("event"), event);
        if let Some(id) = id {
            frame.text(key!("id"), id);
        }
        frame.object(key!("data"), data);
    });
}

impl Quick for PositionBody {
    fn members(&self, to: &mut Members<'_>) {
        to.number(key!("partition"), self.partition.into());
        to.number(key!("offset"), self.offset);
    }
}

impl Quick for Accepted<'_> {
    fn members(&self, to: &mut Members<'_>) {
        to.id(key!("group_id"), self.group_id);
        to.id(key!("message_id"), self.message_id);
        to.text(key!("client_message_id"), self.client_message_id);
        to.number(key!("seq"), self.seq);
        to.id(key!("epoch"), self.epoch);
        to.object(key!("position"), &self.position);
        to.plain(key!("created_at"), self.created_at.as_str());
        to.flag(key!("duplicate"), self.duplicate);
    }
}

impl Quick for Acknowledged {
    fn members(&self, to: &mut Members<'_>) {
        to.id(key!("group_id"), self.group_id);
        to.number(key!("delivered_seq"), self.delivered_seq);
        to.number(key!("read_seq"), self.read_seq);
    }
}

impl Quick for MessageStatus<'_> {
    fn members(&self, to: &mut Members<'_>) {
        to.id(key!("group_id"), self.group_id);
        to.number(key!("seq"), self.seq);
        to.id(key!("message_id"), self.message_id);
        to.number(key!("delivered_count"), self.delivered_count.into());
        to.number(key!("read_count"), self.read_count.into());
        to.number(key!("member_count"), self.member_count.into());
        if let Some(user) = self.user_id {
            to.text(key!("user_id"), user);
        }
        if let Some(seq) = self.delivered_seq {
            to.number(key!("delivered_seq"), seq);
        }
        if let Some(seq) = self.read_seq {
            to.number(key!("read_seq"), seq);
        }
    }
}

impl Quick for MediaBody {
    fn members(&self, to: &mut Members<'_>) {
        to.id(key!("media_id"), self.media_id);
        to.text(key!("content_type"), &self.content_type);
        to.number(key!("content_length"), self.content_length);
    }
}

impl Quick for MessageBody {
    fn members(&self, to: &mut Members<'_>) {
        to.id(key!("group_id"), self.group_id);
        to.number(key!("seq"), self.seq);
        to.id(key!("epoch"), self.epoch);
        to.object(key!("position"), &self.position);
        to.id(key!("message_id"), self.message_id);
        to.text(key!("client_message_id"), self.client_message_id.as_str());
        to.text(key!("sender"), self.sender.as_str());
        to.plain(key!("type"), self.kind);
        if let Some(text) = &self.text {
            to.text(key!("text"), text);
        }
        if let Some(url) = &self.media_url {
            to.text(key!("media_url"), url);
        }
        if let Some(media) = &self.media {
            to.object(key!("media"), media);
        }
        if let Some(why) = self.withheld {
            to.plain(key!("withheld"), why);
        }
        to.plain(key!("created_at"), self.created_at.as_str());
        to.plain(key!("updated_at"), self.updated_at.as_str());
    }
}
