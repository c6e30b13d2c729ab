"""The parts of the loader, in the order in which a batch is made.

    step -> samples -> (source, epoch, window) -> pieces -> batch

| module      | what it decides                                                          |
|-------------|--------------------------------------------------------------------------|
| `source`    | what tokens can be read from                                             |
| `mixture`   | which source a sample comes from, and its place among the source's own   |
| `order`     | which window of which epoch that is                                      |
| `pieces`    | windows as rows of pieces of documents; how pieces become a batch        |
| `packed`    | windows that lie side by side in the tokens, whatever the documents      |
| `documents` | windows made of whole documents where possible                           |
| `best_fit`  | how `documents` packs them                                               |
| `batch`     | inputs, targets, segments                                                |
| `state`     | a place in the data, to be saved                                         |
| `prefetch`  | batches made ahead of time by one thread                                 |

Each step is a pure function of the one before, of the tokens and of the seed. There is no position
to advance and no random generator to seed, which is why resuming needs neither.
"""
