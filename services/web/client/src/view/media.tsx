/** Pictures, video and audio of messages. */

import { useEffect, useState } from "preact/hooks";
import type { MediaBody } from "@parley/sdk";
import { sizeOf, useShared } from "./hooks.ts";
import { Dialog } from "./parts.tsx";

export function MediaView({ media, type, label }: { media: MediaBody; type: string; label: string }) {
  const { parley } = useShared();
  const [url, setUrl] = useState<string>();
  const [isGone, setGone] = useState(false);
  useEffect(() => {
    let isWanted = true;
    const ask = () =>
      void parley.media.url(media.media_id).then(
        (url) => {
          if (!isWanted) return;
          setGone(false);
          setUrl(url);
        },
        () => isWanted && setGone(true),
      );
    ask();
    const stop = parley.on("ready", ask);
    return () => {
      isWanted = false;
      stop();
    };
  }, [media.media_id]);
  if (isGone) return <p class="media-gone">{`${label} can't be shown now`}</p>;
  if (!url) return <div class="media-wait" aria-hidden="true" />;
  return <Shown url={url} type={type} label={label} bytes={media.content_length} onError={() => setGone(true)} />;
}

/** One that isn't uploaded yet. */
export function LocalMedia({ data, type }: { data: Blob; type: string }) {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(data);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  return url ? <Shown url={url} type={type} label="To be sent" bytes={data.size} onError={() => {}} /> : null;
}

function Shown(props: { url: string; type: string; label: string; bytes: number; onError: () => void }) {
  const { url, type, label, bytes, onError } = props;
  const [isLarge, setLarge] = useState(false);
  switch (type) {
    case "image":
      return (
        <>
          <button type="button" class="picture" onClick={() => setLarge(true)} aria-label={`${label}: show large`}>
            <img src={url} alt={label} onError={onError} />
          </button>
          {isLarge && (
            <Dialog title={label} class="large" onClose={() => setLarge(false)}>
              <img src={url} alt={label} />
            </Dialog>
          )}
        </>
      );
    case "video":
      return <video src={url} controls preload="metadata" aria-label={`${label}, ${sizeOf(bytes)}`} onError={onError} />;
    case "audio":
      return <audio src={url} controls preload="metadata" aria-label={`${label}, ${sizeOf(bytes)}`} onError={onError} />;
    default:
      return <p class="media-gone">{`${label} (${sizeOf(bytes)})`}</p>;
  }
}
