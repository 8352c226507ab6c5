"""What strings cannot show of class names is in this list, made by hand from the names alone.

It holds names of HMDB51, UCF101, Kinetics-100 and Something-Something V2 as CLIP-FSAR's lists spell them. It says which
name like actions (`ALIKE`) though they share no word, or not enough of them, and which do not (`UNLIKE`) though the
words of one are all among the other's. Nobody watched videos for it, it is not complete, and who knows better adds a
line. Names are compared by their spelling (`tmal_core.data.sets.overlap`).
"""

from __future__ import annotations

ALIKE: tuple[tuple[str, ...], ...] = (
    # Weapons and balls: HMDB51 says what the body does, the others name the sport.
    ("shoot_bow", "Archery"),
    ("sword", "Fencing"),
    ("sword exercise", "Fencing"),
    ("shoot ball", "Basketball"),
    ("shoot ball", "Basketball Dunk"),
    ("shoot ball", "playing basketball"),
    ("shoot ball", "dunking basketball"),
    ("kick ball", "Soccer Juggling"),
    ("kick ball", "Soccer Penalty"),
    ("kick ball", "drop kicking"),
    ("throw", "Shotput"),
    ("throw", "Baseball Pitch"),
    ("Baseball Pitch", "catching or throwing baseball"),
    # The same exercise, race or lift under another name.
    ("ride horse", "Horse Race"),
    ("flic flac", "Floor Gymnastics"),
    ("cartwheel", "Floor Gymnastics"),
    ("somersault", "Floor Gymnastics"),
    ("somersaulting", "Floor Gymnastics"),
    ("deadlifting", "Clean And Jerk"),
    ("jumping into pool", "Diving"),
    ("jumping into pool", "dive"),
    ("contact juggling", "Juggling Balls"),
    ("jetskiing", "Skijet"),
    # Drums are drums.
    ("playing drums", "Playing Dhol"),
    ("playing drums", "Playing Tabla"),
    ("playing drums", "Playing Daf"),
    # At home.
    ("filling eyebrows", "Apply Eye Makeup"),
    ("cleaning floor", "Mopping Floor"),
    ("using computer", "Typing"),
    # What Something-Something does to any object.
    ("pushing cart", "Pushing [something] from left to right"),
    ("pushing cart", "Pushing [something] from right to left"),
    ("pushing car", "Pushing [something] from left to right"),
    ("Pizza Tossing", "Throwing [something] in the air and catching it"),
    ("Pizza Tossing", "Throwing [something] in the air and letting it fall"),
)
"""Groups of names that are similar, each with each."""

UNLIKE: tuple[tuple[str, ...], ...] = (
    ("dive", "Sky Diving"),  # into water, and out of an aeroplane
    ("dive", "scuba diving"),  # from above the water, and below it
    ("Diving", "scuba diving"),
    ("Surfing", "surfing crowd"),  # on a wave, and on the hands of an audience
    ("Swing", "swing baseball"),  # on a swing, and with a bat
    ("bowling", "Cricket Bowling"),  # at pins, and at a batsman
    ("Stacking [number of] [something]", "Poking a stack of [something] without the stack collapsing"),
)
"""Groups of names that are not similar, whatever their words say."""
