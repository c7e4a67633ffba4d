"""How people may ask for an item, for the reason with it, and for a user in words.

By somebody who had seen nothing of what training says; whatever has five words in a row with that, or is one of its
sentences, was left out. They are no good any more once somebody has added to `prompt/` because some of them failed:
then others have to be written, by others.
"""

from __future__ import annotations

REQUESTS = (
    "I've bought {history} from you before. Can you recommend {type} for me?",
    "Hi, I'm looking for {type}. My last purchases were {history}.",
    "Please suggest {type} for someone who already has {history}.",
    "I really liked {history}. What would be {type} I'd enjoy too?",
    "Find me {type} that goes with {history}.",
    "My daughter loves {history}. Could you pick {type} for her birthday?",
    "I need {type}. So far I've had {history}.",
    "My husband has {history}. I'd like to get him {type}.",
    "Got {history} already, want {type} next.",
    "Could you please recommend {type} based on what I've bought so far, namely {history}?",
    "I'm shopping for my mom and want to get her {type}. She's been very pleased with {history}.",
    "Show me {type} I might like. I've enjoyed {history}.",
    "What's {type} you would recommend to a person who owns {history}?",
    "I'd love {type} to go along with {history}, which I already have at home.",
    "Looking for {type} for a friend who has {history}. Just one suggestion, please.",
    (
        "Good morning, I'm a returning customer and have previously purchased {history}. I would appreciate"
        " it if you could recommend {type}."
    ),
    "My order history includes {history}. Pick {type} for me.",
    "We've had {history} in our house for a while and now we want {type}. Which one should we go for?",
    "I want to buy {type} for my brother, who was really happy with {history}.",
    "Just finished using {history}. Any idea for {type} I should try now?",
    "Recommend {type}, please. I already own {history}.",
    "After buying {history}, I'm ready for something new. Please name {type} I could order next.",
    "If someone likes {history}, what would be {type} they'd probably like as well?",
    "I wish I could find {type} that I like as much as {history}. Which one should I try?",
    "Hey, can you suggest {type}? I've been loving {history} lately.",
    "Tell me {type} to buy next. Here's what I bought before: {history}.",
    "For a colleague's farewell gift, I'm after {type}. I know that {history} were among the things she liked.",
    "Based on {history}, choose {type} for me.",
    "Is there {type} you'd recommend to me? Things I've liked in the past are {history}.",
    "My previous orders were {history}, and I'd be glad if you could find me {type} to match.",
    "I liked {history} a lot, so get me {type} along those lines.",
    (
        "My son turned ten last week and got {history}. His grandparents still want to buy him {type}, so"
        " which one would you suggest?"
    ),
    "Would you mind picking out {type} for me? In the past I've purchased {history}.",
    "I bought {history} for my girlfriend and she liked everything. What should I get her if I want to add {type}?",
    "Need {type} for my dad, he already has {history}.",
    "Given that I own {history}, which product should I buy if I'm looking for {type}?",
    (
        "Hi there, I hope you can help me. I've been a customer for a couple of years and my favorite"
        " purchases were {history}. I'm now looking for {type} and would like you to suggest one."
    ),
    "I have a gift card to spend and I'd like to use it on {type}. Earlier I bought {history}.",
    "Suggest {type} I haven't tried yet. I've already been through {history}.",
    "You sold me {history} and they were all great. Now recommend me {type}.",
    "I'd like your recommendation for {type}, please. The items I've liked best so far are {history}.",
)
REASONS = (
    "I'd like to know the reason for your choice, too.",
    "Why do you think that is the right one?",
    "Please add a short explanation of why it fits.",
    "Could you give me a reason for your recommendation as well?",
    "I'd also like to understand how you arrived at that suggestion.",
    "Explain your pick, please.",
    "Give me your reasoning as well.",
    "Please include the reason you suggest it.",
    "And what is it about your pick that makes it suitable?",
    "Let me know why you went with that one.",
    "Please justify your choice briefly.",
    "I'm curious why you would recommend it.",
    "Can you also say why that would be a good fit?",
    "A brief reason for your suggestion would be nice.",
    "Don't forget to mention why you chose it.",
    "Please describe what speaks for it.",
    "Would you also explain what led you to that choice?",
    "Along with your answer, please give the reason behind it.",
    "Make sure to explain why it would be worth buying.",
    "Before I order it, I want to know why you selected it.",
    "Back up your recommendation with a short explanation.",
    "Why is that what you would go for?",
)
PROFILES = (
    "What do {history} say about the kind of things I like?",
    "Please describe the interests of someone who bought {history}.",
    "Can you summarize my preferences? My purchases so far were {history}.",
    "My wife has {history}. What would you say she likes in general?",
    "Based on {history}, what kind of shopper am I?",
    "I own {history}. Please write a short description of my preferences.",
    "Looking at {history}, how would you sum up this customer's taste?",
    "Here's my order history: {history}. What does it show about what I prefer?",
    "What kind of things does a person who has {history} seem to enjoy?",
    "Could you please give me a summary of my shopping preferences based on {history}?",
    "I've enjoyed {history} so far. What can you tell about my likes from that?",
    "My friend's last purchases were {history}. How would you put her taste into words?",
    "If somebody buys {history}, what are they probably into?",
    "Sum up what I like, going by {history}.",
    "Hi, I'd like to know how you would characterize my preferences. In the past I bought {history}.",
    "Please put together a brief profile of a customer whose purchases were {history}.",
    "Given that my son has {history}, what would you say his interests are?",
    "What's my style, judging by {history}?",
    "Take a look at {history} and tell me what the owner seems to prefer.",
    "Write down what you can gather about the preferences of a buyer of {history}.",
    "How would you describe someone who likes {history}?",
    "Explain in your own words what sort of products I go for, considering that I bought {history}.",
    "My roommate already has {history}. What do you think she cares about when she buys something?",
    "Which interests do {history} point to?",
    "We have bought {history} as a family. Could you describe what we tend to like?",
    "I'd love to hear what you think my preferences are. I already own {history}.",
)
