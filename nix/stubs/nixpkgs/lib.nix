# The few functions of nixpkgs' lib that the flake uses.
let
  inherit (builtins) attrNames concatMap listToAttrs;
in
rec {
  inherit (builtins)
    attrNames
    concatMap
    filter
    hasAttr
    mapAttrs
    ;
  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  concatMapAttrs =
    f: set: builtins.foldl' (merged: name: merged // f name set.${name}) { } (attrNames set);
  filterAttrs =
    keep: set:
    listToAttrs (
      concatMap (name: if keep name set.${name} then [ (nameValuePair name set.${name}) ] else [ ]) (
        attrNames set
      )
    );
  optionals = condition: list: if condition then list else [ ];
  hasPrefix =
    prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  composeManyExtensions = builtins.foldl' (
    f: g: final: prev:
    let
      first = f final prev;
    in
    first // g final (prev // first)
  ) (_: _: { });
}
