//! Every bound of the system in one place, each with its reason.

/// Bytes in one path component: the limit of every Linux file system.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Components in one path: deeper trees are an attack or a loop.
pub const PATH_DEPTH_MAX: usize = 64;
/// Bytes in one path: `PATH_MAX` on Linux.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes in a tree name, so that names stay readable in tables and file names.
pub const TREE_NAME_BYTES_MAX: usize = 64;
/// Bytes in one frame on the wire and in one record header's claim.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Contents up to this size travel and are stored whole; larger ones are
/// chunked. 98.5 % of real artifacts are below 16 KiB, so this almost never
/// splits an XML file.
pub const SMALL_CONTENT_BYTES_MAX: u64 = 64 << 10;
/// Largest single file that is synchronised (1 TiB).
pub const FILE_BYTES_MAX: u64 = 1 << 40;
/// Entries in one tree (and so changes in one generation).
pub const TREE_ENTRIES_MAX: usize = 16 << 20;
/// Fan-out of the manifest trie: one nibble of the path's hash a level.
pub const TRIE_FANOUT: usize = 16;
/// Entries in one leaf of the manifest trie.
pub const TRIE_LEAF_ENTRIES_MAX: usize = 16;
/// Levels of the trie: one per nibble of a 256-bit key.
pub const TRIE_DEPTH_MAX: usize = 64;
/// Below this many entries a full list is cheaper than a walk.
pub const LIST_ENTRIES_MAX: u64 = 2_000;
/// Trees in one node's configuration.
pub const TREES_MAX: usize = 256;
/// Peers in one node's configuration.
pub const PEERS_MAX: usize = 256;
/// Exclude and include rules of one tree: each is asked for every path and for
/// every directory above it.
pub const EXCLUDE_RULES_MAX: usize = 1_000;

/// FastCDC cut points (even, powers of two: other averages changed their cut
/// points between releases of the crate).
pub const CHUNK_BYTES_MIN: u32 = 16 << 10;
/// Average chunk that FastCDC aims at.
pub const CHUNK_BYTES_AVERAGE: u32 = 64 << 10;
/// Largest chunk.
pub const CHUNK_BYTES_MAX: u32 = 256 << 10;
/// Chunks in one group of a recipe, but for the last: bounds how many groups a
/// peer may announce.
pub const GROUP_CHUNKS_MIN: usize = 8;
/// Chunks in one group of a recipe, where no content-defined boundary comes.
pub const GROUP_CHUNKS_MAX: usize = 256;

/// Small contents from this size on are remembered by the active that sent them, so
/// that the next one travels as steps over it: of shorter ones that saves little.
pub const SKETCHED_BYTES_MIN: u64 = 4 << 10;
/// Contents from this size on travel as a patch where the passive has an older
/// one: below, a sketch and its round trip cost more than they save.
pub const PATCHED_BYTES_MIN: u64 = 8 << 10;
/// Largest content that travels as a patch: both sides hold it in memory, and the
/// older one beside it.
pub const PATCHED_BYTES_MAX: u64 = 16 << 20;
/// Largest content that travels as a patch of nothing, among those above
/// [`SMALL_CONTENT_BYTES_MAX`]: alone it would cost a round trip, which is as long as
/// a megabyte takes on a slow link.
pub const PATCHED_NEW_BYTES_MAX: u64 = 1 << 20;
/// Bytes of contents that travel as patches in one generation: a patch is
/// compressed hard, at about 100 MB/s.
pub const PATCHED_BYTES_TOTAL_MAX: u64 = 64 << 20;
/// Pieces in one sketch: about twice as many as the largest content has. Of one
/// that has more, the rest is not looked for.
pub const PATCH_PIECES_MAX: usize = 8 << 10;
/// Bytes in one step of a patch.
pub const PATCH_LITERAL_BYTES_MAX: usize = 64 << 10;

/// Plain bytes gathered into one block of a section: small enough to be used
/// soon, large enough that flushing costs nothing.
pub const BLOCK_PLAIN_BYTES: usize = 256 << 10;
/// Window of a zstd stream, as a power of two: what a peer can make us hold for
/// each section it sends (1 MiB).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 20;
/// Bytes in one encoded change or entry: a longest path, a longest link text
/// and the rest.
pub const ITEM_BYTES_MAX: usize = 2 * PATH_BYTES_MAX + 256;

/// Touched paths that wait to be looked at; beyond, one rescan is cheaper.
pub const TOUCHED_PATHS_MAX: usize = 100_000;
/// New files remembered to recognise the other half of a rename; beyond, the
/// oldest is forgotten and the deletion is held its full time.
pub const APPEARED_PATHS_MAX: usize = 10_000;
