// The state machine of the cluster's metadata, as a coordinator runtime hosts it: commands look at `image`, and only
// `replay` moves it on. Everything else is functions: founding, registration, liveness, topics, producer ids.

import { type ClusterImage, emptyImage } from './image.ts';
import type { ClusterRecord } from './record.ts';
import { replayed } from './replay.ts';

export class ClusterState {
  #image: ClusterImage;

  /** Empty, or as a snapshot says. */
  constructor(image: ClusterImage = emptyImage()) {
    this.#image = image;
  }

  /** Replaced whole: taking it costs nothing, and it never changes. */
  get image(): ClusterImage {
    return this.#image;
  }

  replay(record: ClusterRecord): void {
    this.#image = replayed(this.#image, record);
  }
}
