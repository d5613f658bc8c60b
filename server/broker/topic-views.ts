// Topics as clients see them, from the node's copy of the cluster's metadata: no waiting, and nobody is asked.

import type { TopicId } from '@sluice/protocol/ids';
import type { TopicConfig } from '../base/topic-config.ts';
import type { ClusterImage, ClusterTopic } from '../state/cluster/image.ts';
import type { ListTopicsRequest, TopicPage, TopicView } from './broker.ts';
import { topicSettings } from './topic-settings.ts';

export class TopicViews {
  readonly #image: () => ClusterImage;
  readonly #topicDefaults: TopicConfig;
  /** Made once for each version of a topic. */
  readonly #views = new WeakMap<ClusterTopic, TopicView>();

  constructor(image: () => ClusterImage, topicDefaults: TopicConfig) {
    this.#image = image;
    this.#topicDefaults = topicDefaults;
  }

  topic(name: string): ClusterTopic | undefined {
    return this.#image().topics.get(name);
  }

  byId(id: TopicId): ClusterTopic | undefined {
    const name = this.#image().topicNames.get(id);
    return name === undefined ? undefined : this.topic(name);
  }

  view(topic: ClusterTopic): TopicView {
    let view = this.#views.get(topic);
    if (view === undefined) {
      const settings = topicSettings(topic.config, this.#topicDefaults);
      view = {
        name: topic.name,
        id: topic.topicId,
        partitionCount: topic.partitions.length,
        replicationFactor: topic.replicationFactor,
        internal: topic.internal,
        batchBytesMax: settings.batchBytesMax,
        isCompacted: settings.log.compaction !== null,
        config: topic.config,
      };
      this.#views.set(topic, view);
    }
    return view;
  }

  find(name: string): TopicView | null {
    const topic = this.topic(name);
    return topic === undefined ? null : this.view(topic);
  }

  list({ prefix, after, limit, internal }: ListTopicsRequest): TopicPage {
    const topics: TopicView[] = [];
    for (const topic of this.#image().topics.values()) {
      const { name } = topic;
      if (!name.startsWith(prefix) || (after !== null && name <= after) || (topic.internal && !internal)) continue;
      if (topics.length === limit) return { topics, nextAfter: topics.at(-1)!.name };
      topics.push(this.view(topic));
    }
    return { topics, nextAfter: null };
  }
}
