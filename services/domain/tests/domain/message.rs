//! Send.

use parley_domain::{
    Code, Command, Earlier, Event, MediaDescription, MediaFault, MessageKind, Position, Rejection,
    SealedContent, SendMessage, decide,
};

use crate::cases::Then::{Appends, Refused, Repeats};
use crate::cases::{Case, Then, case, check, club, club_and};
use crate::given::{at, context, dissolved, facts, fold, message_id, picture, removed, send, sent};

fn sends(name: &'static str, wish: SendMessage, then: Then) -> Case {
    case(name, "dan", Command::Send(Box::new(wish)), then)
}

fn with_media(kind: MessageKind, media: Option<Result<MediaDescription, MediaFault>>) -> SendMessage {
    SendMessage { kind, media, ..send() }
}

fn sent_with(kind: MessageKind, media: MediaDescription) -> Event {
    let Event::MessageSent(message) = sent(6, "dan", 1) else { unreachable!() };
    Event::MessageSent(parley_domain::MessageSent { kind, media: Some(media), ..message })
}

fn typed(content_type: &str) -> MediaDescription {
    MediaDescription { content_type: content_type.into(), ..picture() }
}

fn earlier(same_content: bool) -> Earlier {
    let position = Position { partition: 3, offset: 77 };
    Earlier { message_id: message_id(2), seq: 2, position, at: at(2), same_content }
}

#[test]
fn every_member_may_send() {
    for actor in ["ann", "bob", "dan"] {
        let when = Command::Send(Box::new(send()));
        check([case("a text", actor, when, Appends(sent(6, actor, 1)))]);
    }
}

#[test]
fn messages_are_counted_for_each_sender() {
    let given = || club_and([sent(6, "dan", 1), sent(7, "eve", 1), sent(8, "dan", 2)]);
    let case = |actor, then| Case {
        name: "the next",
        given: given(),
        actor,
        when: Command::Send(Box::new(send())),
        then,
    };
    check([case("dan", Appends(sent(9, "dan", 3))), case("eve", Appends(sent(9, "eve", 2)))]);
    assert_eq!(fold(&facts(&given())).unwrap().message_count, 3);
}

#[test]
fn a_text_has_a_limit() {
    let of = |text_bytes| SendMessage { content: SealedContent { text_bytes, ..send().content }, ..send() };
    let Event::MessageSent(message) = sent(6, "dan", 1) else { unreachable!() };
    let longest = Event::MessageSent(parley_domain::MessageSent { text_bytes: 100, ..message });
    check([
        sends("at the limit", of(100), Appends(longest)),
        sends("beyond it", of(101), Refused(Code::TooLarge)),
        sends("far beyond it", of(u32::MAX), Refused(Code::TooLarge)),
    ]);
}

#[test]
fn media_must_be_there_and_fit_the_type() {
    use MessageKind::{Audio, Image, Text, Video};
    check([
        sends("image", with_media(Image, Some(Ok(picture()))), Appends(sent_with(Image, picture()))),
        sends(
            "video",
            with_media(Video, Some(Ok(typed("video/mp4")))),
            Appends(sent_with(Video, typed("video/mp4"))),
        ),
        sends(
            "audio",
            with_media(Audio, Some(Ok(typed("AUDIO/ogg")))),
            Appends(sent_with(Audio, typed("AUDIO/ogg"))),
        ),
        sends("an image as a video", with_media(Video, Some(Ok(picture()))), Refused(Code::MediaMismatch)),
        sends(
            "a video as an image",
            with_media(Image, Some(Ok(typed("video/mp4")))),
            Refused(Code::MediaMismatch),
        ),
        sends("no real type", with_media(Image, Some(Ok(typed("image")))), Refused(Code::MediaMismatch)),
        sends("not ASCII", with_media(Image, Some(Ok(typed("imagé/png")))), Refused(Code::MediaMismatch)),
        sends("an image without media", with_media(Image, None), Refused(Code::BadRequest)),
        sends("a text with media", with_media(Text, Some(Ok(picture()))), Refused(Code::BadRequest)),
        sends(
            "a text with bad media",
            with_media(Text, Some(Err(MediaFault::Forbidden))),
            Refused(Code::BadRequest),
        ),
    ]);
}

#[test]
fn every_media_fault_has_its_code() {
    for (fault, code) in [
        (MediaFault::Forbidden, Code::MediaForbidden),
        (MediaFault::NotUploaded, Code::MediaNotUploaded),
        (MediaFault::Mismatch, Code::MediaMismatch),
        (MediaFault::Unavailable, Code::Unavailable),
    ] {
        check([sends("a fault", with_media(MessageKind::Image, Some(Err(fault))), Refused(code))]);
    }
    let group = fold(&facts(&club()));
    let down = with_media(MessageKind::Image, Some(Err(MediaFault::Unavailable)));
    let rejection = decide(group.as_ref(), &Command::Send(Box::new(down)), &context("dan", 6)).unwrap_err();
    assert!(rejection.retry_after_ms.is_some(), "it is worth another try, and says when");
}

#[test]
fn over_the_rate_is_refused_as_the_rim_says() {
    let slow_down = Rejection::new(Code::RateLimited, "slow down").retry_after(50);
    let wish = SendMessage { over_rate: Some(slow_down.clone()), ..send() };
    check([sends("over the rate", wish.clone(), Refused(Code::RateLimited))]);
    let group = fold(&facts(&club()));
    let decision = decide(group.as_ref(), &Command::Send(Box::new(wish.clone())), &context("dan", 6));
    assert_eq!(decision, Err(slow_down));
    // A stranger learns only that it is one.
    check([case("a stranger", "gus", Command::Send(Box::new(wish)), Refused(Code::NotAMember))]);
}

/// What was accepted stays accepted: whatever has happened since, the answer is the first one.
#[test]
fn a_repeat_is_answered_before_anything_else_is_looked_at() {
    let wish = || SendMessage {
        earlier: Some(earlier(true)),
        over_rate: Some(Rejection::new(Code::RateLimited, "slow down")),
        media: Some(Err(MediaFault::NotUploaded)),
        kind: MessageKind::Image,
        content: SealedContent { text_bytes: u32::MAX, ..send().content },
        ..send()
    };
    let since = [
        ("nothing", club()),
        ("left", club_and([removed("dan", "dan", 4)])),
        ("dissolved", club_and([dissolved("ann")])),
    ];
    check(since.map(|(name, given)| Case {
        name,
        given,
        actor: "dan",
        when: Command::Send(Box::new(wish())),
        then: Repeats(earlier(true)),
    }));
    let other = SendMessage { earlier: Some(earlier(false)), ..wish() };
    check([sends("with other content", other, Refused(Code::IdempotencyConflict))]);
}
