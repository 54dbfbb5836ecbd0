// Cuts a segment at the fields that an alert marks.

export interface Segment {
  text: string;
  name: string;
  index: number;
  /** `start` and `end` count bytes of `text` in UTF-8; what does not fit is not marked. */
  marks?: { field: number; component?: number; start: number; end: number }[];
}

export interface Piece {
  text: string;
  marked: boolean;
  /** `OBX-5`. */
  field?: string;
}

export function cut(segment: Segment): Piece[] {
  const text = new TextEncoder().encode(segment.text);
  const decoder = new TextDecoder();
  const pieces: Piece[] = [];
  let at = 0;
  for (const mark of [...(segment.marks ?? [])].sort((a, b) => a.start - b.start)) {
    if (!(mark.start >= at && mark.end > mark.start && mark.end <= text.length)) continue;
    if (mark.start > at) pieces.push({ text: decoder.decode(text.slice(at, mark.start)), marked: false });
    pieces.push({ text: decoder.decode(text.slice(mark.start, mark.end)), marked: true, field: `${segment.name}-${mark.field}${mark.component === undefined ? '' : `.${mark.component}`}` });
    at = mark.end;
  }
  if (at < text.length) pieces.push({ text: decoder.decode(text.slice(at)), marked: false });
  return pieces;
}
