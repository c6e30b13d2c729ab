"""What worlds are made of: trades, things, places, animals, food."""

from ttt_data.chronicles.block import items, table, words

TRAITS = words("""
    patient careless brave shy stubborn cheerful clever honest greedy gentle proud curious lazy
    kind anxious quiet generous forgetful talkative sharp-tongued soft-hearted restless solemn
    dreamy absent-minded hot-tempered thrifty practical polite blunt nosy merry gloomy bashful
    daring careful stern tender witty grumpy humble loyal jealous tidy untidy trusting suspicious
    tireless sleepy graceful clumsy hopeful thoughtful bold modest sensible superstitious vain sly
    bookish
""")

# Trade, and what someone of that trade was seen doing.
JOBS = table("""
    baker: kneaded dough until the table shook; drew a dozen loaves from the oven; dusted every
      board with flour
    potter: threw three bowls and spoiled a fourth; wedged the clay with both fists; glazed a row
      of jugs
    weaver: passed the shuttle to and fro; dyed a basket of wool; mended a broken warp
    miller: dressed the millstone; filled sacks with rye flour; greased the great wheel
    fisher: mended nets with tarred twine; hauled in a basket of eels; gutted herring by the dozen
    carpenter: planed an oak board; hung a new door; sawed planks for a cradle
    shepherd: counted the ewes twice; dug a lamb out of the ditch; whistled to the dog on the
      slope
    smith: shod two horses; hammered a ploughshare; worked the bellows
    gardener: pruned the pear trees; dug a bed for leeks; tied up the beans
    clerk: copied a long deed; sharpened a handful of quills; added the same column four times
    sailor: spliced a rope; patched the brown sail; tarred the hull of the boat
    teacher: corrected a pile of slates; drew a map on the wall; read aloud from a worn primer
    tailor: cut a waistcoat out of grey cloth; sewed on eleven buttons; let out a coat at the
      seams
    hunter: set snares along the hedge; waxed a bowstring; followed a trail of hoof prints
    beekeeper: smoked the hives; strained honey through muslin; caught a swarm in a skep
    painter: ground blue stones to powder; painted a sign for the tailor; sketched the passers-by
    ferry keeper: rowed eight people across; caulked the ferry; coiled the long rope
    mason: set a lintel in place; mixed a tub of mortar; chipped at a block of sandstone
    singer: practised scales by the window; learned a ballad of thirty verses; tuned an old lute
    doctor: rolled bandages; listened to a cough; brewed a bitter tea
    cobbler: nailed soles to a pair of boots; waxed the thread; stretched a stiff shoe
    brewer: stirred the mash; rolled a barrel up the ramp; tasted the new ale
    cooper: bent staves over the fire; hooped a cask; shaved the lid of a barrel
    glazier: cut panes with a diamond; puttied a cracked window; leaded a small rose window
    clockmaker: oiled a dozen tiny wheels; took a watch to pieces; set every clock in the shop
    bookbinder: stitched pages together; pressed a stack of covers; gilded the edges of a psalter
    nurse: boiled a kettle of linen; dried herbs for the spring; walked home after a long night
    innkeeper: aired the upper rooms; tapped a fresh barrel; chalked debts on the slate
    tanner: scraped hides; stirred the oak-bark vats; hung skins up to dry
    charcoal burner: stacked logs into a mound; sealed the kiln with turf; raked out the black
      coals
    letter carrier: sorted a bag of letters; read the smudged addresses; wound the post
      horn with cord
    cheesemaker: skimmed the cream; salted a wheel of cheese; churned until the butter came
    thatcher: bundled reeds; patched a leaking ridge; climbed down for more straw
    lamplighter: trimmed forty wicks; polished the glass of the lamps; carried the ladder from
      post to post
    ropemaker: twisted hemp into cord; walked backwards with the yarn; measured out fifty fathoms
    basketmaker: soaked willow rods; wove a cradle of osiers; trimmed the ends of a hamper
    apothecary: pounded seeds in a mortar; labelled small brown bottles; weighed out a pinch of
      saffron
    bell-founder: broke open a mould; melted copper with tin; struck a new bell and listened
    tinker: soldered a leaking pan; sharpened scissors; hung pots all round the cart
    notary: sealed a will with red wax; witnessed two signatures; blotted a contract
    chandler: dipped candles in rows; rendered a pot of tallow; plaited wicks
    wheelwright: fitted spokes to a hub; heated an iron tyre; balanced a cartwheel
    mapmaker: inked the line of a coast; measured the lane with a chain; coloured the forests
      green
    herbalist: hung sage in bunches; gathered elder flowers; sorted roots by smell
    saddler: stitched a girth; oiled a stiff bridle; stuffed a saddle with horsehair
    lacemaker: moved forty bobbins; pinned a pattern to the pillow; finished a collar of fine lace
    grocer: stacked cabbages; weighed dried peas; swept the shop from end to end
    lighthouse keeper: cleaned the great lens; wrote up the log; carried oil up ninety steps
    goldsmith: hammered a thin leaf; set a garnet in a ring; weighed dust on a small scale
    storyteller: made up an ending; tried out a giant's voice; collected old rhymes
""")

# Nouns of things, and the stuffs they can be made of.
THINGS = {
    words("copper silver iron brass tin bronze pewter steel gilded rusty"): words("""
        key bell lamp ring spoon knife kettle buckle chain thimble compass lantern horseshoe anchor
        trumpet goblet hammer padlock candlestick sundial medal whistle spur weathercock
    """),
    words("oak ash cherrywood birch pine walnut willow carved wooden bamboo"): words("""
        box flute ladle stool mask comb spindle bowl fiddle pipe bucket oar puppet chest crutch top
        rattle ladder yoke boat abacus cradle drum sledge
    """),
    words("woollen linen silk velvet cotton knitted patched embroidered felt quilted"): words("""
        blanket scarf cap shawl ribbon flag purse sack cloak handkerchief doll cushion apron glove
        banner nightcap tapestry hammock
    """),
    words(
        "torn folded yellowed faded ink-stained unfinished sealed waterproof gilt-edged thin"
    ): words("""
        book letter map notebook diary songbook almanac drawing ledger calendar portrait poster
    """),
    words("glass clay porcelain crystal painted cracked enamelled glazed"): words("""
        bottle jar mirror vase bead jug teapot plate figurine inkwell hourglass tile marble prism
    """),
    words("ivory jade amber marble granite onyx agate garnet alabaster bone"): words("""
        brooch statue pendant die seal amulet button egg paperweight bracelet pawn turtle
    """),
}

COLOURS = words("""
    red blue green yellow black white grey brown purple orange crimson turquoise violet scarlet
    cream pink golden silvery rust-red sky-blue moss-green honey-coloured snow-white
""")
QUALITIES = words("""
    small heavy battered ancient curious little splendid plain broken narrow round enormous tiny
    crooked dusty shiny precious ugly square odd
""")

# Kind of place: preposition, and what can be seen there.
PLACES = table("""
    mill: at; a wheel green with moss; a loft that smelled of barley; a white owl in the rafters
    inn: at; a settle by the hearth; a signboard with three hares; a row of pewter mugs
    forge: at; a ring of old horseshoes; a trough of black water; an anvil on an elm stump
    market: in; stalls under striped awnings; a pump with two handles; baskets of speckled eggs
    well: at; a bucket on a mossy chain; a stone rim worn by ropes; ferns in every crack
    ferry: at; a bell for calling across; a landing stage on oak piles; a flat boat painted black
    crossroads: at; a signpost with four arms; a milestone nobody could read; a lime tree full of
      starlings
    school: at; a row of wooden pegs; a globe with a dent in it; a stove with a crooked pipe
    chapel: in; a window with a blue angel; candles in iron holders; a bell rope worn smooth
    fountain: at; a stone fish that spouted water; coins on the green bottom; pigeons on the brim
    quay: on; nets hung up to dry; barrels of salted cod; iron rings in the wall
    lighthouse: in; a stair of ninety steps; a lens as tall as a child; charts pinned to the wall
    bakery: in; a rack of cooling loaves; a cat on the flour bin; a long wooden peel
    dairy: in; pans of yellow cream; cheeses wrapped in nettles; a tiled floor, always wet
    stable: in; a grey mare with a white foot; swallows' nests on the beam; harness on long nails
    tollhouse: at; a barrier painted in stripes; a ledger chained to the sill; a tin box for
      pennies
    barn: in; hay up to the roof; a cart with one wheel; a ladder with missing rungs
    garden: in; beds of thyme and marigold; a bench under a quince tree; a sundial in the grass
    orchard: in; forty crooked apple trees; beehives along the wall; a swing on a pear bough
    cellar: in; casks that sweated in the dark; shelves of pickled plums; a puddle that never
      dried
    library: in; shelves up to the ceiling; a ladder on small wheels; a clerk asleep over an atlas
    meadow: in; cowslips and sorrel; a hollow oak; a ring of pale toadstools
    forest: in; a clearing with a charred log; ferns as high as a man; a path marked with white
      stones
    square: in; a statue without a nose; a chestnut tree with a bench round it; a notice board
      full of pins
    churchyard: in; yews clipped like chessmen; a grave shaped like a boat; a low wall with a
      stile
    attic: in; trunks with brass corners; a rocking horse under a sheet; a skylight full of dust
    kitchen: in; strings of onions; a copper pan for every day; a table scrubbed white
    vineyard: in; terraces held by dry walls; a hut for the pickers; a scarecrow in a good hat
    workshop: in; a bench with two vices; curled shavings on the floor; tools in rows by size
    courtyard: in; a fig tree in a tub; a mounting block; washing on three lines
    granary: in; mice that feared nobody; a scale with brass weights; heaps of oats
    bridge: on; a niche with a saint in it; a parapet warm from the sun; names cut into the rail
    hill: on; a beacon basket on a pole; three thorn trees; a bank of wild strawberries
    pier: on; a telescope on a stand; a bench for fishermen; ropes stiff with salt
    green: on; a pond with seven ducks; a maypole without ribbons; a tethered goat
    beach: on; a wreck half in the sand; lines of dry weed; boats lying on their sides
    tower: in; a clock with one hand; a nest of jackdaws; a chest bound in iron
    ruin: in; an arch with no wall; ivy thick as an arm; a hearth open to the sky
    cave: in; a floor of clean sand; drawings of deer; water that dripped like a clock
    post office: in; a hundred numbered boxes; a counter with a brass grille; a pot of grey glue
    town hall: in; portraits of stout mayors; a staircase that split in two; a bell in a glass
      case
    bathhouse: in; steam that hid the ceiling; tiles with swimming frogs; a heap of warm towels
    brickyard: in; kilns like beehives; stacks of red bricks; a pit of yellow clay
    harbour: in; masts like bare trees; crates that smelled of cloves; gulls on every post
    museum: in; a whale's jaw; trays of labelled beetles; a suit of armour for a boy
    theatre: in; a curtain with moth holes; a thunder machine; rows of hard benches
    boathouse: in; oars laid across the beams; a canoe without a bottom; cans of varnish
    quarry: in; steps cut for giants; a lake as green as glass; a crane with a frayed rope
""")
PLACE_QUALITIES = words("""
    old new stone red upper lower little great abandoned crooked white long empty lonely royal
    painted sunken quiet
""")

PETS = words(
    "dog cat goat goose hen pony donkey rabbit crow ferret tortoise duck parrot pig magpie"
)
BIRDS = words("""
    crow rook heron lark thrush owl wren robin gull swallow jackdaw magpie cuckoo blackbird
    woodpecker finch starling pigeon kingfisher nightingale
""")
BEASTS = words("""
    hare fox badger otter hedgehog squirrel weasel toad lizard stag bat mole rat marten
""")

FOODS = items("""
    barley soup, apple cake, fried trout, plum dumplings, rye bread, goat cheese, honey biscuits,
    onion pie, roast chestnuts, pickled beans, smoked eel, blackberry jam, oat porridge, mushroom
    stew, gingerbread, cabbage rolls, baked pears, lentil soup, poppy-seed buns, boiled eggs, hot
    chocolate, cider, elderflower syrup, mutton broth, potato pancakes, walnut bread, pumpkin soup,
    cherry tart, buttermilk, roast goose, spiced tea, herring salad, cold sausages, quince jelly,
    white beans, rice pudding, leek soup, almond cake, mint tea, crayfish
""")

# What a house looks like: two of these.
HOUSE_PARTS = items("""
    a green door, a blue door, a red door, a yellow door, a door of bare oak, a roof of slate, a
    thatched roof, a roof of red tiles, a turf roof, a leaking roof, two chimneys, three chimneys,
    a crooked chimney, a round window, seven windows, shutters with hearts in them, white shutters,
    a porch full of boots, a brass knocker, a weathercock on the gable, ivy up to the eaves, a vine
    over the gate, a bench by the wall, a stair on the outside, a tiny balcony, walls as thick as a
    bed is wide, walls of tarred planks, whitewashed walls, a garden of sunflowers, a cherry tree
    in front, a pump in the yard, a bell instead of a knocker, a cellar with a trapdoor, a stork's
    nest on top, a floor of black and white tiles, lace curtains, a stove as big as a cow
""")
FEARS = items("""
    thunder, deep water, spiders, geese, the dark, high places, being alone, ghosts, bulls,
    mirrors, owls, fire, closed doors, the sea, bees, old wells, strangers, snakes, falling asleep,
    tax collectors, toads, broken promises, wolves, dentists, empty houses
""")
LIKES = items("""
    fishing at night, the smell of sawdust, old songs, long walks, card games, sleeping late,
    watching the wild geese, sums, telling lies to children, polished shoes, quarrels, collecting
    feathers, dancing, swimming, silence, gossip, fresh paint, bonfires, riddles, snow, whittling
    spoons, other people's weddings, counting stars, climbing trees, loud bells
""")
